//! TLS to Redis: what is not right with a certificate is told in words, and put right without a restart.

use std::{fs, process::Command};

use crate::support::{Authority, Gateway, Port, Redis, SOON, until};

fn setting(authority: &Authority, setting: &str, file: &str) -> String {
    authority.setting(&format!("databases.0.redis.tls.{setting}"), file)
}

/// A Redis that speaks TLS with a certificate of the authority at a port beside its own.
fn server(authority: &Authority, certificate: &str, options: &[&str]) -> (Redis, Port) {
    let port = Port::reserve();
    let file = |name: &str| authority.file(name).display().to_string();
    let (cert, key, ca) = (file(&format!("{certificate}.pem")), file(&format!("{certificate}.key")), file("ca.pem"));
    let number = port.number.to_string();
    let mut all = vec!["--tls-port", &number, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    all.extend(options);
    (Redis::with(&all), port)
}

fn launch(port: &Port, settings: &[String]) -> Gateway {
    Gateway::launch(&format!("rediss://localhost:{}", port.number), &settings.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Holds readiness and the log to what they say of the database.
#[track_caller]
fn says(gateway: &Gateway, words: &str, status: u16, code: &str) {
    until(words, SOON, || gateway.operations("/readyz?verbose")?.text().contains(words).then_some(()));
    assert!(gateway.log().contains(words), "{}", gateway.log());
    assert!(!gateway.is_ready());
    let client = gateway.anonymous();
    until("refusal", SOON, || (client.get("strings/a").json()["code"] == code).then_some(()));
    let problem = gateway.anonymous().get("strings/a").fails(status, code, "");
    assert_eq!(problem["outcome"], serde_json::Value::Null);
}

#[test]
fn a_connection_is_encrypted_and_both_sides_show_who_they_are() {
    let authority = Authority::new();
    authority.sign("server", "localhost", 2100);
    authority.sign("client", "client", 2100);
    for (version, value) in [("TLSv1.2", 100), ("TLSv1.3", 3 << 20)] {
        let (redis, port) = server(&authority, "server", &["--tls-protocols", version]);
        let files = [("caFrom", "ca.pem"), ("certificateFrom", "client.pem"), ("keyFrom", "client.key")];
        let gateway = launch(&port, &files.map(|(name, file)| setting(&authority, name, file)));
        until("readiness", SOON, || gateway.is_ready().then_some(()));
        // Larger than what fits into one record, both ways.
        let value = "v".repeat(value);
        gateway.anonymous().put("strings/a", serde_json::json!({ "value": value }).to_string()).is(r#"{"result":"OK"}"#);
        assert_eq!(redis.line("STRLEN a"), value.len().to_string());
        gateway.anonymous().get("strings/a").is(&format!(r#"{{"result":"{value}"}}"#));
    }
}

#[test]
fn a_certificate_that_is_not_right_is_told_in_words() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.sign("server", "localhost", 2100);
    authority.sign("expired", "localhost", 2020);
    authority.sign("elsewhere", "redis.example", 2100);
    let ca = setting(&authority, "caFrom", "ca.pem");
    let open = &["--tls-auth-clients", "no"];

    let (_redis, port) = server(&authority, "server", open);
    says(&launch(&port, &[setting(&other, "caFrom", "ca.pem")]), "is not signed by a CA that is trusted", 503, "unavailable");
    says(&launch(&port, &[]), "is not signed by a CA that is trusted", 503, "unavailable");
    says(&launch(&port, &[setting(&authority, "caFrom", "nothing.pem")]), "nothing.pem: No such file", 503, "unavailable");
    says(&launch(&port, &[setting(&authority, "caFrom", "server.key")]), "holds no certificate in PEM", 503, "unavailable");
    let unfit = [("caFrom", "ca.pem"), ("certificateFrom", "server.pem"), ("keyFrom", "expired.key")];
    says(&launch(&port, &unfit.map(|(name, file)| setting(&authority, name, file))), "is not the key of", 503, "unavailable");

    let (_redis, port) = server(&authority, "expired", open);
    says(&launch(&port, std::slice::from_ref(&ca)), "the server's certificate has expired", 503, "unavailable");

    let (_redis, port) = server(&authority, "elsewhere", open);
    let gateway = launch(&port, std::slice::from_ref(&ca));
    says(&gateway, "for redis.example, not for localhost", 503, "unavailable");
    let gateway = launch(&port, &[ca.clone(), "databases.0.redis.tls.serverName=redis.example".into()]);
    until("readiness", SOON, || gateway.is_ready().then_some(()));

    for version in ["TLSv1.2", "TLSv1.3"] {
        let (redis, port) = server(&authority, "server", &["--tls-protocols", version]);
        says(&launch(&port, std::slice::from_ref(&ca)), "wants a client certificate", 502, "backend_denied");
        let plain = Gateway::launch(&redis.url().replace("redis://", "rediss://"), &[&ca]);
        says(&plain, "does the server speak TLS", 503, "unavailable");
    }
}

#[test]
fn files_are_read_again_for_each_connection() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.sign("server", "localhost", 2100);
    let (mut redis, port) = server(&authority, "server", &["--tls-auth-clients", "no"]);
    let file = other.file("ca.pem");
    let gateway = launch(&port, &[setting(&other, "caFrom", "ca.pem")]);
    says(&gateway, "is not signed by a CA that is trusted", 503, "unavailable");
    fs::copy(authority.file("ca.pem"), &file).unwrap();
    until("readiness", SOON, || gateway.is_ready().then_some(()));
    // A server that comes back with another authority's certificate is believed as soon as the file says so.
    let next = Authority::new();
    next.sign("server", "localhost", 2100);
    fs::write(&file, [fs::read(&file).unwrap(), fs::read(next.file("ca.pem")).unwrap()].concat()).unwrap();
    for name in ["server.pem", "server.key"] {
        fs::copy(next.file(name), authority.file(name)).unwrap();
    }
    redis.kill();
    redis.start_again();
    until("service", SOON, || (gateway.anonymous().get("keys/nothing").status == 404).then_some(()));
}

/// What `check --connect` says, and whether it is content.
fn check(port: u16, settings: &[String]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbx-gateway"));
    command.args(["check", "--connect", "--database", &format!("redis=rediss://localhost:{port}")]).env_clear();
    for setting in settings {
        command.args(["--set", setting]);
    }
    let output = command.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("rediss://localhost"), "the configuration in force is printed");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn check_tells_beforehand_what_readiness_would() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.sign("server", "localhost", 2100);
    authority.sign("expired", "localhost", 2020);
    authority.sign("elsewhere", "redis.example", 2100);
    let ca = setting(&authority, "caFrom", "ca.pem");
    let open = &["--tls-auth-clients", "no"];
    let cases = [
        ("server", &open[..], setting(&other, "caFrom", "ca.pem"), "is not signed by a CA that is trusted"),
        ("server", open, setting(&authority, "caFrom", "nothing.pem"), "tls.caFrom: "),
        ("server", open, setting(&authority, "caFrom", "server.key"), "tls.caFrom: holds no certificate in PEM"),
        ("expired", open, ca.clone(), "the server's certificate has expired"),
        ("elsewhere", open, ca.clone(), "for redis.example, not for localhost"),
        ("server", &[], ca.clone(), "wants a client certificate"),
    ];
    for (certificate, options, setting, words) in cases {
        let (_redis, port) = server(&authority, certificate, options);
        let (content, said) = check(port.number, &[setting]);
        assert!(!content && said.starts_with("databases[0].redis (redis): ") && said.contains(words), "{words}: {said}");
    }
    let (redis, port) = server(&authority, "server", open);
    assert_eq!(check(port.number, std::slice::from_ref(&ca)), (true, String::new()));
    drop(redis);
    let (content, said) = check(port.number, &[ca]);
    assert!(!content && said.contains("refused"), "{said}");
}
