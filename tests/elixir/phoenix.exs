# A Phoenix endpoint with channels behind Bandit: prints its port, then each connection that reaches it, and serves until
# its standard input ends.

Application.put_env(:phoenix, :json_library, Jason)

Application.put_env(:app, App.Endpoint,
  adapter: Bandit.PhoenixAdapter,
  http: [ip: {127, 0, 0, 1}, port: 0],
  url: [host: "app.example.com"],
  check_origin: ["https://app.example.com"],
  pubsub_server: App.PubSub,
  secret_key_base: String.duplicate("not a secret ", 8),
  server: true
)

defmodule App.RoomChannel do
  use Phoenix.Channel

  def join("room:locked", _params, _socket), do: {:error, %{reason: "locked"}}
  def join("room:" <> _name, _params, socket), do: {:ok, %{you: socket.assigns.user}, socket}

  def handle_in("say", %{"text" => text}, socket) do
    broadcast!(socket, "said", %{from: socket.assigns.user, text: text})
    {:reply, {:ok, %{}}, socket}
  end

  def handle_in("reverse", {:binary, bytes}, socket) do
    reversed = bytes |> :binary.bin_to_list() |> Enum.reverse() |> :binary.list_to_bin()
    {:reply, {:ok, {:binary, reversed}}, socket}
  end
end

defmodule App.UserSocket do
  use Phoenix.Socket

  channel "room:*", App.RoomChannel

  # The gateway has verified the token and taken it out; whom it names comes as a header of the gateway's own.
  def connect(params, socket, %{x_headers: headers}) do
    user = Map.get(Map.new(headers), "x-user-id")
    IO.puts("#{user || "nobody"} with #{params |> Map.keys() |> Enum.join(",")}")
    if user, do: {:ok, assign(socket, :user, user)}, else: :error
  end

  def id(_socket), do: nil
end

defmodule App.Endpoint do
  use Phoenix.Endpoint, otp_app: :app
  socket "/socket", App.UserSocket, websocket: [connect_info: [:x_headers]], longpoll: false
end

Logger.configure(level: :warning)
children = [{Phoenix.PubSub, name: App.PubSub}, App.Endpoint]
for application <- [:phoenix, :bandit, :jason], do: {:ok, _} = Application.ensure_all_started(application)
{:ok, _} = Supervisor.start_link(children, strategy: :one_for_one)
{:ok, {_address, port}} = App.Endpoint.server_info(:http)
IO.puts(port)
IO.read(:stdio, :eof)
System.halt(0)
