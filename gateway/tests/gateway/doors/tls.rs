//! TLS to clients: both versions, client certificates, files that change, and handshakes that come to nothing.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use crate::support::{App, Authority, Connection, SOON, until};

const FAILED: &str = "dbx_connection_failures_total{reason=\"tls\"}";
const GET: &[u8] = b"GET /api/v1/redis/keys/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";

static ALL: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];
static OLD: &[&SupportedProtocolVersion] = &[&TLS12];
static NEW: &[&SupportedProtocolVersion] = &[&TLS13];

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A client that believes in an authority.
struct Caller {
    roots: Arc<RootCertStore>,
    versions: &'static [&'static SupportedProtocolVersion],
    shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    protocols: Vec<Vec<u8>>,
}

fn certificate(authority: &Authority, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(authority.file(&format!("{name}.pem"))).unwrap()
}

impl Caller {
    fn new(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(authority, "ca")).unwrap();
        Self { roots: Arc::new(roots), versions: ALL, shown: None, protocols: Vec::new() }
    }

    /// The same with a client certificate.
    fn showing(mut self, authority: &Authority, name: &str) -> Self {
        self.shown = Some((certificate(authority, name), PrivateKeyDer::from_pem_file(authority.file(&format!("{name}.key"))).unwrap()));
        self
    }

    fn dial(&self, app: &App) -> std::io::Result<TlsStream> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(self.versions).unwrap();
        let builder = builder.with_root_certificates(self.roots.clone());
        let mut config = match &self.shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap(),
        };
        config.alpn_protocols = self.protocols.clone();
        let mut connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", app.gateway.data.number))?;
        socket.set_read_timeout(Some(SOON))?;
        connection.complete_io(&mut socket)?;
        Ok(StreamOwned::new(connection, socket))
    }

    /// Whether a request is answered. Whom TLS 1.3 refuses for its certificate learns of it only after the handshake.
    fn is_served(&self, app: &App) -> bool {
        let exchange = || Connection::over(self.dial(app)?).exchange(GET);
        exchange().is_ok_and(|response| response.status == 404)
    }
}

fn settings(authority: &Authority) -> Vec<String> {
    [("certificateFrom", "server.pem"), ("keyFrom", "server.key")]
        .map(|(setting, file)| authority.setting(&format!("listen.tls.{setting}"), file))
        .into()
}

fn start(settings: &[String]) -> App {
    App::with(&settings.iter().map(String::as_str).collect::<Vec<_>>())
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.sign("server", "localhost", 2100);
    authority
}

#[test]
fn both_versions_are_served() {
    let authority = authority();
    let app = start(&settings(&authority));
    for versions in [OLD, NEW] {
        let caller = Caller { versions, protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()], ..Caller::new(&authority) };
        let stream = caller.dial(&app).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut connection = Connection::over(stream);
        // Larger than what fits into one record, both ways.
        let value = "v".repeat(3 << 20);
        let body = serde_json::json!({ "value": value }).to_string();
        let put = app.anonymous().request("PUT", "strings/a", Some(body.as_bytes()));
        connection.exchange(&put).unwrap().is(r#"{"result":"OK"}"#);
        let response = connection.exchange(&app.anonymous().request("GET", "strings/a", None)).unwrap();
        response.is(&format!(r#"{{"result":"{value}"}}"#));
        assert_eq!(response.header("strict-transport-security"), Some("max-age=31536000"));
    }
    // HTTP/2 is not spoken.
    assert!(Caller { protocols: vec![b"h2".to_vec()], ..Caller::new(&authority) }.dial(&app).is_err());
    // Nor is anything without TLS.
    assert!(app.anonymous().connect().exchange(GET).is_err());
    assert_eq!(app.gateway.metric(FAILED), 2.0);
    let log = app.gateway.log();
    assert!(!log.contains("\"WARN\"") && !log.contains("\"ERROR\""), "who connects can fill the log:\n{log}");
}

#[test]
fn sockets_are_opened_over_it() {
    let authority = authority();
    let app = start(&settings(&authority));
    let stream = Caller::new(&authority).dial(&app).unwrap();
    let (mut socket, _) = tungstenite::client("wss://localhost/api/v1/redis/ws", stream).unwrap();
    socket.send(tungstenite::Message::Text(r#"{"id":1,"op":"exists","args":{"keys":["a"]}}"#.into())).unwrap();
    assert_eq!(socket.read().unwrap().into_text().unwrap().as_str(), r#"{"id":1,"result":0}"#);
}

#[test]
fn clients_show_certificates() {
    let (authority, other) = (authority(), Authority::new());
    for authority in [&authority, &other] {
        authority.sign("client", "client", 2100);
        authority.sign("expired", "client", 2020);
    }
    let mut settings = settings(&authority);
    settings.push(authority.setting("listen.tls.clientCaFrom", "ca.pem"));
    for (wanted, nobody) in [("", false), ("optional", true), ("required", false)] {
        let chosen = (!wanted.is_empty()).then(|| format!("listen.tls.clientCertificates={wanted}"));
        let app = start(&settings.iter().cloned().chain(chosen).collect::<Vec<_>>());
        for versions in [OLD, NEW] {
            let caller = || Caller { versions, ..Caller::new(&authority) };
            assert_eq!(caller().is_served(&app), nobody, "{wanted}: without a certificate");
            assert!(caller().showing(&authority, "client").is_served(&app), "{wanted}: with a certificate");
            assert!(!caller().showing(&authority, "expired").is_served(&app), "{wanted}: an expired certificate");
            assert!(!caller().showing(&other, "client").is_served(&app), "{wanted}: a stranger's certificate");
        }
    }
}

#[test]
fn certificates_say_who_calls() {
    let authority = authority();
    authority.sign("web", "web.shop", 2100);
    let grants = r#"auth.grants=[{ to: ["certificate:web.*"], access: [read] }]"#.to_owned();
    let mut settings = settings(&authority);
    settings.extend([authority.setting("listen.tls.clientCaFrom", "ca.pem"), "listen.tls.clientCertificates=optional".to_owned()]);
    settings.extend(["auth.mode=required".to_owned(), grants]);
    let app = start(&settings);
    let status = |caller: &Caller, method: &str, path: &str, body: Option<&[u8]>| {
        let request = app.anonymous().request(method, path, body);
        Connection::over(caller.dial(&app).unwrap()).exchange(&request).unwrap()
    };
    let web = Caller::new(&authority).showing(&authority, "web");
    assert_eq!(status(&web, "GET", "/api/v1/whoami", None).json()["result"]["identity"], "certificate:web.shop");
    assert_eq!(status(&web, "GET", "keys/nothing", None).status, 404);
    assert_eq!(status(&web, "PUT", "strings/a", Some(br#"{"value":"1"}"#)).status, 403);
    assert_eq!(status(&Caller::new(&authority), "GET", "keys/nothing", None).status, 401);
    // What is said in words counts for more than the certificate, which browsers show by themselves.
    let request = app.anonymous().with("Authorization", "Bearer nonsense").request("GET", "keys/nothing", None);
    assert_eq!(Connection::over(web.dial(&app).unwrap()).exchange(&request).unwrap().status, 401);
    let request = app.anonymous().with("Origin", "https://evil.example").request("GET", "keys/nothing", None);
    assert_eq!(Connection::over(web.dial(&app).unwrap()).exchange(&request).unwrap().status, 403);
}

#[test]
fn new_files_are_used_without_a_restart() {
    let authority = authority();
    let app = start(&settings(&authority));
    let caller = Caller::new(&authority);
    let shown = || caller.dial(&app).unwrap().conn.peer_certificates().unwrap()[0].clone();
    let first = certificate(&authority, "server");
    assert_eq!(shown(), first);
    let mut old = Connection::over(caller.dial(&app).unwrap());
    assert_eq!(old.exchange(GET).unwrap().status, 404);

    // A mistake changes nothing, and is told once.
    let key = fs::read(authority.file("server.key")).unwrap();
    let told = "new files cannot be used, the old ones stay in use: keyFrom";
    fs::write(authority.file("server.key"), "nonsense").unwrap();
    until("the mistake", SOON, || app.gateway.log().contains(told).then_some(()));
    assert_eq!(shown(), first);
    fs::write(authority.file("server.key"), key).unwrap();

    authority.sign("server", "localhost", 2101);
    until("the new certificate", SOON, || (shown() != first).then_some(()));
    assert_eq!(shown(), certificate(&authority, "server"));
    assert_eq!(old.exchange(GET).unwrap().status, 404, "the old connection lives on");
    assert_eq!(app.gateway.log().matches(told).count(), 1);
}

#[test]
fn a_handshake_is_not_waited_for() {
    let authority = authority();
    let mut settings = settings(&authority);
    settings.push("limits.handshakeTimeout=1s".into());
    let app = start(&settings);
    let (mut silent, mut half) = (app.anonymous().connect(), app.anonymous().connect());
    half.write(b"\x16\x03\x01\x02\x00").unwrap();
    assert!(Caller::new(&authority).is_served(&app));
    assert!(silent.read().is_err() && half.read().is_err());
    until("their end", SOON, || (app.gateway.metric("dbx_connections") < 0.5).then_some(()));
    assert_eq!(app.gateway.metric("dbx_connection_failures_total{reason=\"timeout\"}"), 2.0);
}

#[test]
fn who_is_too_many_is_told_over_tls() {
    let authority = authority();
    let mut settings = settings(&authority);
    settings.push("limits.maxConnections=1".into());
    let app = start(&settings);
    let caller = Caller::new(&authority);
    let mut held = Connection::over(caller.dial(&app).unwrap());
    assert_eq!(held.exchange(GET).unwrap().status, 404);
    let refused = Connection::over(caller.dial(&app).unwrap()).exchange(GET).unwrap();
    refused.fails(503, "unavailable", "");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(held.exchange(GET).unwrap().status, 404);
}

#[test]
fn a_close_is_a_clean_one() {
    let authority = authority();
    let app = start(&settings(&authority));
    let mut stream = Caller::new(&authority).dial(&app).unwrap();
    stream.write_all(b"GET /api/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    // Without TLS's own end the last bytes could have been cut off by anybody, and this would fail.
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("databases"), "{answer}");
}

#[test]
fn files_that_are_wrong_are_told_at_the_start() {
    let authority = authority();
    authority.sign("other", "localhost", 2100);
    for (setting, file, words) in [
        ("certificateFrom", "nothing.pem", "listen.tls.certificateFrom: cannot read the secret in file"),
        ("certificateFrom", "server.key", "listen.tls.certificateFrom: holds no certificate in PEM"),
        ("keyFrom", "server.pem", "listen.tls.keyFrom: holds no private key in PEM"),
        ("keyFrom", "other.key", "listen.tls.keyFrom is not the key of certificateFrom"),
        ("clientCaFrom", "server.key", "listen.tls.clientCaFrom: holds no certificate in PEM"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbx-gateway"));
        command.args(["--database", "redis=redis://127.0.0.1:1", "--set", "listen.data=127.0.0.1:0"]).env_clear();
        command.args(["--set", "listen.operations=127.0.0.1:0"]);
        for setting in settings(&authority).into_iter().chain([authority.setting(&format!("listen.tls.{setting}"), file)]) {
            command.args(["--set", &setting]);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{words}: {said}");
    }
}
