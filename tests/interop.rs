//! Peers that nobody here wrote, behind the gateway and in front of it: Python's `websockets` and npm's `ws`, each with
//! each, and the service of each kind that `wsgate init` knows, with its own client.
//!
//! tests/support/peers.rs says where the programs are looked for. Where one is missing its test says that it was passed
//! over; where the variable that names it is set, it must be there. docs/interoperation.md tells what is exercised.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "what was passed over is for the reader of the output")]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::house::ORIGIN;
use support::peers::{Tool, script, takes_steps, told_as_much};
use support::process::Process;
use support::shipped::{PAGE, Shipped, heard, listening, service};
use support::{House, Plan};

/// What a client prints when everything came out as it should.
const STEPS: &str = "\
by a subprotocol: /chat/room?lang=en alice - -
by a header: /chat/room?lang=en alice - -
by the query: /chat/room?lang=en alice - -
by a cookie: /chat/room?lang=en alice theme=dark -
text and binary echoed
fragments passed both ways
pings answered both ways
closed by either side
a message too big: 1009
a foreign origin: 403
no origin, a cookie: 403
no token: 401
half a token: 401
two tokens: 400
no subprotocol of ours: 403
";

/// The codes with which each side closes once.
const CODES: [u16; 8] = [1000, 1001, 1008, 1011, 1013, 3000, 4000, 4999];

const POLICY: &str = r#"
[route]
hosts = ["localhost"]
paths = ["/chat/*"]
subprotocols = ["chat.v2"]
[upstream]
identity = { "x-user-id" = "/sub" }
cookies = ["theme"]
[session]
from_client = { message_size = "64KiB" }
"#;

/// What sends and takes 16 MiB, and not a byte more.
const BIG: &str = r#"
[session]
from_client = { message_size = "16MiB", bytes = "1GiB/s burst 1GiB" }
from_backend = { message_size = "16MiB" }
"#;

/// A general WebSocket library, as a service and as a client.
#[derive(Clone, Copy, Debug)]
enum Library {
    Websockets,
    Ws,
}

impl Library {
    const ALL: [Self; 2] = [Self::Websockets, Self::Ws];

    fn runs(self, name: &str) -> Option<Command> {
        let (tool, path) = match self {
            Self::Websockets => (Tool::Python, format!("python/{name}.py")),
            Self::Ws => (Tool::Node, format!("node/{name}.js")),
        };
        let mut command = tool.or_passed_over()?;
        command.arg(script(&path));
        Some(command)
    }

    /// The client's script with its arguments, where the service's script was found.
    fn client(self, what: &str, house: &House) -> Command {
        let mut client = self.runs("client").unwrap();
        let file = |name: &str| house.folder.path().join(name);
        let authority = file("certs/authority.pem");
        std::fs::write(file("token"), house.signer.token()).unwrap();
        client.arg(what).arg(format!("wss://localhost:{}/chat/room?lang=en", house.address().port()));
        match self {
            Self::Websockets => client.arg(authority),
            Self::Ws => client.env("NODE_EXTRA_CA_CERTS", authority),
        };
        client.arg(ORIGIN).arg(file("token"));
        client
    }
}

#[test]
fn the_page_tells_of_every_test_and_every_package_and_the_lock_file_of_no_host() {
    let read = |path: &str| std::fs::read_to_string(script(path)).unwrap();
    let page = read("../docs/interoperation.md");
    let manifest: Value = serde_json::from_str(&read("node/package.json")).unwrap();
    let packages = manifest["dependencies"].as_object().unwrap();
    for (name, version) in packages {
        let told = format!("{name} {}", version.as_str().unwrap());
        assert!(page.contains(&told), "docs/interoperation.md does not tell of {told}");
    }
    let suite = read("interop.rs");
    let tests: Vec<&str> =
        suite.lines().filter_map(|line| line.strip_prefix("async fn ")?.strip_suffix("() {")).collect();
    for name in &tests {
        assert!(page.contains(&format!("`{name}`")), "docs/interoperation.md does not tell of {name}");
    }
    assert!(packages.len() == 9 && tests.len() == 10, "{} packages, {} tests", packages.len(), tests.len());
    assert!(!read("node/package-lock.json").contains("\"resolved\""), "an address of a registry");
}

/// Lets every library talk to every library through a gateway of this policy; `closures` are the Close frames that the
/// service saw.
async fn each_with_each(what: &str, policy: &str, steps: &str, closures: &[String]) {
    let found: Vec<Library> = Library::ALL.into_iter().filter(|library| library.runs("server").is_some()).collect();
    let mut ran = 0;
    for (behind, before) in found.iter().flat_map(|behind| found.iter().map(move |before| (behind, before))) {
        println!("{before:?} in front, {behind:?} behind: {what}");
        let (service, port) = listening(behind.runs("server").unwrap()).await;
        let server = format!("[upstream]\nservers = [\"ws://127.0.0.1:{port}\"]");
        let house = Plan::plain().policy(POLICY).policy(policy).policy(&server).build().await;
        takes_steps(Process::start(before.client(what, &house)), steps).await;
        house.is_at_rest().await;

        let lines = format!("{port}\n{}", closures.join("\n"));
        told_as_much(&service, &lines).await;
        let (mut told, mut expected) = (heard(service).await, closures.to_vec());
        told.sort_unstable();
        expected.sort_unstable();
        assert_eq!(told, expected, "what the service heard at the end of each session");
        ran += 1;
    }
    assert_eq!(ran, found.len() * found.len());
}

#[tokio::test]
async fn text_binary_fragments_pings_close_codes_subprotocols_and_every_carrier_of_a_token() {
    let closed = |code: &u16| [format!("{code} as you wish"), format!("{code} grün, as I wish")];
    let mut closures: Vec<String> = CODES.iter().flat_map(closed).collect();
    closures.extend(std::iter::repeat_n(String::from("1000 "), 5));
    // Of a message too big the client alone is told 1009.
    closures.push(String::from("1001 "));
    each_with_each("all", "", STEPS, &closures).await;
}

#[tokio::test]
async fn compressed_messages_where_the_policy_lets_them_pass() {
    let policy = "[upstream]\nextensions = \"pass\"";
    each_with_each("compressed", policy, "compressed messages echoed\n", &["1000 ".into()]).await;
}

#[tokio::test]
#[ignore = "slow: floods of 16 MiB through a debug build; .ci/long runs it"]
async fn messages_of_16_mib_pass_both_ways_and_not_a_byte_more() {
    const STEPS: &str = "\
16 MiB of binary echoed
16 MiB of text echoed
16 MiB in fragments echoed
a byte more from here: 1009
a byte more from there: 1011
";
    each_with_each("big", BIG, STEPS, &["1001 ".into(), "1009 ".into()]).await;
}

#[tokio::test]
async fn plain_with_a_page_and_a_program() {
    const STEPS: &str = "\
/chat alice - -
our page: 4000 as you wish
/chat alice - -
a program, too loud: 1009
another site's page: 403
no token: 401
a forged token: 401
";
    let (Some(node), Some(server)) = (Tool::Node.or_passed_over(), Library::Ws.runs("server")) else { return };
    let (service, port) = listening(server).await;
    let gateway = Shipped::of("plain", port).await;
    let token = gateway.token("chat").await;
    let mut client = gateway.client(node, "plain_client");
    client.arg(gateway.url("/chat")).arg(PAGE).arg(&token);
    let refusals = ["origin_not_allowed", "credential_missing", "token_signature"];
    gateway.shows(client, STEPS, &refusals, &["message_too_big"]).await;
    gateway.keeps(&token);
    assert_eq!(heard(service).await, ["4000 as you wish", "1001 "], "one session each of the page and the program");
}

#[tokio::test]
async fn socketio_with_its_own_client() {
    const STEPS: &str = "\
connected over websocket
an event acknowledged and broadcast
binary both ways
a namespace
put out: io server disconnect
too loud: 1009
a wrong password: who are you?
another site's page: 403
no page, a cookie: 403
a phone's app: connected
";
    const PATH: &str = "/socket.io/ EIO=4&transport=websocket";
    let (Some(node), Some(client)) = (Tool::Node.or_passed_over(), Tool::Node.command()) else { return };
    let (service, port) = service(node, "socketio_server").await;
    let gateway = Shipped::of("socketio", port).await;
    let mut client = gateway.client(client, "socketio_client");
    client.arg(gateway.url("/")).arg(PAGE);
    let refusals = ["origin_not_allowed", "origin_missing"];
    gateway.shows(client, STEPS, &refusals, &["message_too_big"]).await;
    let pages = vec![format!("{PATH} {PAGE}"); 4];
    assert_eq!(heard(service).await, [pages, vec![String::from(PATH)]].concat(), "four of a page and one of a phone");
}

#[tokio::test]
async fn graphql_with_its_own_client() {
    const STEPS: &str = "\
[{\"greeting\":\"hello grün 🦀\"}]
[{\"countdown\":3},{\"countdown\":2},{\"countdown\":1},{\"countdown\":0}]
[{\"countdown\":1},{\"countdown\":0}] [{\"countdown\":2},{\"countdown\":1},{\"countdown\":0}]
Cannot query field \"nothing\" on type \"Query\".
a document of 23 and 250000
a document too big: 1009
a wrong password: 4403
who says nothing: 4408 Connection initialisation timeout
another site's page: 403
the old protocol: 403
";
    let (Some(node), Some(client)) = (Tool::Node.or_passed_over(), Tool::Node.command()) else { return };
    let (service, port) = service(node, "graphql_server").await;
    let gateway = Shipped::of("graphql", port).await;
    let mut client = gateway.client(client, "graphql_client");
    client.arg(gateway.url("/graphql")).arg(PAGE);
    let refusals = ["origin_not_allowed", "subprotocol_not_allowed"];
    gateway.shows(client, STEPS, &refusals, &["message_too_big"]).await;
    assert_eq!(heard(service).await, ["/graphql https://app.example.com"; 8]);
}

#[tokio::test]
async fn mqtt_with_mosquitto_and_mqtt_js() {
    const STEPS: &str = "\
MQTT 5 of a page: every QoS, retained, 200 kB up
MQTT 3.1.1 of a page: every QoS, retained, 200 kB up
MQTT 3.1 of a device: every QoS, retained, 200 kB up
900 readings at once
too loud: closed
who says nothing: 1008
a wrong password: Connection refused: Not authorized
another site's page: 403
no page, a cookie: 403
";
    let (Some(mosquitto), Some(node)) = (Tool::Mosquitto.or_passed_over(), Tool::Node.or_passed_over()) else { return };
    let port = free_port();
    let gateway = Shipped::of("mqtt", port).await;
    let password = gateway.file("password", "open sesame");
    let broker = broker(mosquitto, port, gateway.folder()).await;
    let mut client = gateway.client(node, "mqtt_client");
    client.arg(gateway.url("/mqtt")).arg("https://dashboard.example.com").arg(&password);
    let refusals = ["origin_not_allowed", "origin_missing"];
    gateway.shows(client, STEPS, &refusals, &["message_too_big", "first_message_timeout"]).await;
    gateway.keeps(&password);
    let told = broker.complaints();
    assert_eq!(told.matches("New client connected").count(), 5, "{told}");
}

#[tokio::test]
#[ignore = "needs Rails, three dozen packages; .ci/long installs it"]
async fn actioncable_with_rails_and_its_own_client() {
    const STEPS: &str = "\
two sessions subscribed
spoken and broadcast
a locked room: rejected
no session: {\"type\":\"disconnect\",\"reason\":\"unauthorized\",\"reconnect\":false}
another site's page: 403
no page, a session: 403
";
    let (Some(mut ruby), Some(node)) = (Tool::Ruby.or_passed_over(), Tool::Node.or_passed_over()) else { return };
    ruby.arg(script("ruby/actioncable.rb"));
    let (service, port) = listening(ruby).await;
    let gateway = Shipped::of("actioncable", port).await;
    let mut client = gateway.client(node, "actioncable_client");
    client.arg(gateway.url("/cable")).arg(PAGE).arg(format!("http://127.0.0.1:{port}"));
    gateway.shows(client, STEPS, &["origin_not_allowed", "origin_missing"], &[]).await;
    let session = format!("/cable {PAGE} _app_session");
    assert_eq!(heard(service).await, [session.clone(), session, format!("/cable {PAGE} ")], "alice, bob and nobody");
}

#[tokio::test]
#[ignore = "needs Phoenix, which no package of Debian brings"]
async fn phoenix_with_its_own_client() {
    const STEPS: &str = "\
joined: {\"you\":\"alice\"}
said and broadcast
binary both ways
a locked room: {\"reason\":\"locked\"}
a heartbeat
too loud: 1009
a program: connected
another site's page: 403
no token: 401
a forged token: 401
a token as authToken: 401
";
    let (Some(mut elixir), Some(node)) = (Tool::Phoenix.or_passed_over(), Tool::Node.or_passed_over()) else { return };
    elixir.arg(script("elixir/phoenix.exs"));
    let (service, port) = listening(elixir).await;
    let gateway = Shipped::of("phoenix", port).await;
    let token = gateway.token("app").await;
    let mut client = gateway.client(node, "phoenix_client");
    client.arg(gateway.url("/socket")).arg(PAGE).arg(&token);
    let refusals = ["origin_not_allowed", "credential_missing", "token_signature", "credential_missing"];
    gateway.shows(client, STEPS, &refusals, &["message_too_big"]).await;
    gateway.keeps(&token);
    assert_eq!(heard(service).await, ["alice with vsn"; 3], "the token is taken out");
}

#[tokio::test]
async fn signalr_with_its_own_client_and_a_stand_in_for_the_hub() {
    const STEPS: &str = "\
Say heard: grün 🦀
too loud: 1009
another site's page: 403
no token: 401
a forged token: 401
";
    let mut ran = 0;
    for (taken, heard_of) in [("browser", PAGE), ("node", "")] {
        let (Some(node), Some(client)) = (Tool::Node.or_passed_over(), Tool::Node.command()) else { return };
        let (service, port) = service(node, "signalr_standin").await;
        let gateway = Shipped::of("signalr", port).await;
        let token = gateway.token("chat").await;
        let mut client = gateway.client(client, "signalr_client");
        client.arg(gateway.url("/chathub")).arg(PAGE).arg(&token).arg(taken);
        let refusals = ["origin_not_allowed", "credential_missing", "token_signature"];
        gateway.shows(client, STEPS, &refusals, &["message_too_big"]).await;
        gateway.keeps(&token);
        let hub = ["/chathub", heard_of, "authorization"].into_iter().filter(|part| !part.is_empty());
        assert_eq!(heard(service).await, [hub.collect::<Vec<_>>().join(" ")], "the token has moved to its header");
        ran += 1;
    }
    assert_eq!(ran, 2);
}

/// Mosquitto at this port of the loopback, with one user who has a password.
async fn broker(mut mosquitto: Command, port: u16, folder: &Path) -> Process {
    let file = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    // Mosquitto 2.0.11 does not start where all its listeners are WebSockets.
    let at = folder.display();
    file(
        "mosquitto.conf",
        &format!(
            "user root\nlistener 0 {at}/mqtt.socket\nlistener {port} lo\nprotocol websockets\nallow_anonymous false\npassword_file {at}/users\n"
        ),
    );
    file("users", "alice:open sesame\n");
    let mut hash = Command::new("mosquitto_passwd");
    hash.arg("-U").arg(folder.join("users"));
    Process::start(hash).ends().await.ended(0);
    mosquitto.arg("-v").arg("-c").arg(folder.join("mosquitto.conf"));
    let broker = Process::start(mosquitto);
    broker.complaint("the broker runs", |told| told.contains(" running\n")).await;
    broker
}

/// A port that nobody listens at: Mosquitto cannot choose one and tell.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
