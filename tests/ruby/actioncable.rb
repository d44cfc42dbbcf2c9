# A Rails application with ActionCable behind Puma: prints its port, then each handshake that reaches it, and serves
# until its standard input ends. `GET /login/NAME` sets the session's cookie, as a form of the application would.

require "tmpdir"
require "rails"
require "action_controller/railtie"
require "action_cable/engine"
require "puma"
require "puma/server"

class Application < Rails::Application
  config.load_defaults 6.1
  config.root = Dir.mktmpdir
  config.eager_load = false
  config.logger = Logger.new($stderr, level: :warn)
  config.secret_key_base = "not a secret: this application lives as long as its test"
  config.session_store :cookie_store, key: "_app_session"
  config.action_cable.mount_path = "/cable"
  config.action_cable.allowed_request_origins = ["https://app.example.com"]
  config.action_cable.allow_same_origin_as_host = false
end

class SessionsController < ActionController::Base
  def create
    session[:user] = params[:name]
    head :no_content
  end
end

module ApplicationCable
  class Connection < ActionCable::Connection::Base
    identified_by :user

    def connect
      $stdout.puts "#{env["REQUEST_PATH"]} #{env["HTTP_ORIGIN"]} #{cookies.to_h.keys.join(",")}"
      self.user = cookies.encrypted["_app_session"]&.dig("user") || reject_unauthorized_connection
    end
  end
end

class RoomChannel < ActionCable::Channel::Base
  def subscribed
    params[:room] == "locked" ? reject : stream_from("room")
  end

  def speak(data)
    ActionCable.server.broadcast("room", { "from" => user, "text" => data["text"] })
  end
end

$stdout.sync = true
Application.initialize!
ActionCable.server.config.cable = { "adapter" => "async" }
ActionCable.server.config.connection_class = -> { ApplicationCable::Connection }
Application.routes.append { get "/login/:name", to: "sessions#create" }
Application.reload_routes!

server = Puma::Server.new(Application)
port = server.add_tcp_listener("127.0.0.1", 0).local_address.ip_port
server.run
puts port
$stdin.read
exit!(0)
