//! What the service tells about its work: to standard error, to files and to Logstash; and what it never tells.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use auth_tests::{
    API_KEY, PASSWORD,
    process::{Home, Launch, Service, eventually},
    telemetry::TlsReceiver,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::{TcpListener, TcpStream},
};

fn requests(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["target"] == "auth_service::requests")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_one_line_with_the_fields_that_operators_search() {
    let home = Home::new();
    let launch = home.service().quick().set("JSON_LOGS", "true");
    let service = launch.set("LOG_RETENTION", "2 days").start().await;
    let ada = service.verified("ada").await;
    service
        .get("/auth/me")
        .by(&ada)
        .header("x-request-id", "mine")
        .await
        .ok(200);
    service
        .get("/auth/users/by-email/ada%40example.org")
        .await
        .refused(401, "invalid_api_key");
    service
        .get("/no/such/ada@example.org")
        .await
        .refused(404, "not_found");
    service
        .call("BREW", "/auth/login")
        .await
        .refused(405, "method_not_allowed");
    let login = json!({"username": "ada", "password": PASSWORD});
    let login = service.post("/auth/login", login).await;
    let ended = service.stop().await;

    let lines = requests(&ended.stderr);
    let of = |route: &str| {
        let mut found = lines.iter().rev().filter(|line| line["route"] == route);
        found
            .next()
            .unwrap_or_else(|| panic!("{route}: {lines:#?}"))
    };
    let me = of("/auth/me");
    for (name, value) in [
        ("client_ip", json!("127.0.0.1")),
        ("environment", json!("development")),
        ("level", json!("INFO")),
        ("message", json!("answered")),
        ("method", json!("GET")),
        ("request_id", json!("mine")),
        ("service", json!("authService")),
        ("status", json!(200)),
        ("user_id", json!(ada.id.to_string())),
    ] {
        assert_eq!(me[name], value, "{name}: {me}");
    }
    assert!(
        me["duration_ms"].as_f64().unwrap() > 0.0 && me["time"].is_string(),
        "{me}"
    );
    let refused = of("/auth/users/by-email/{email}");
    assert_eq!(refused["status"], 401);
    assert_eq!(of("none")["code"], "not_found");
    // A login proves its user only by its answer.
    let logged_in = lines
        .iter()
        .find(|line| line["request_id"] == login.header("x-request-id"));
    assert_eq!(logged_in.unwrap()["user_id"], ada.id.to_string());
    assert!(
        lines
            .iter()
            .any(|line| line["method"] == "other" && line["status"] == 405)
    );
    assert!(!ended.stderr.contains("example.org"), "{}", ended.stderr);

    // The same lines are in the file of the day, which is not for others.
    let folder = home.path().join("logs");
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(requests(&fs::read_to_string(&files[0]).unwrap()), lines);
}

fn shipping(home: &Home, port: u16) -> Launch {
    let launch = home.service().quick().set("ENABLE_LOGSTASH", "true");
    let launch = launch.set("SYSLOG_HOST", "127.0.0.1");
    launch.set("SYSLOG_PORT", &port.to_string())
}

async fn accept(listener: &TcpListener) -> Lines<BufReader<TcpStream>> {
    let (stream, _) = listener.accept().await.unwrap();
    BufReader::new(stream).lines()
}

/// Reads until a request with this id was told.
async fn hear(link: &mut Lines<BufReader<TcpStream>>, id: &str) {
    loop {
        let text = link.next_line().await.unwrap().expect("the link holds");
        let told: Value = serde_json::from_str(&text).unwrap();
        assert!(
            told["@timestamp"].is_string() && told["@version"] == "1",
            "{told}"
        );
        assert!(told["message"].is_string(), "{told}");
        if told["request_id"] == id {
            return;
        }
    }
}

/// The slower of two middle values of some requests.
async fn latency(service: &Service) -> Duration {
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        service.get("/auth/me").await.refused(401, "missing_token");
        times.push(start.elapsed());
    }
    times.sort();
    times[100]
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_wait_for_a_receiver_that_stops_or_stalls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let home = Home::new();
    // TRACE, so that a stalled receiver is full soon.
    let service = shipping(&home, port)
        .set("LOG_LEVEL", "trace")
        .start()
        .await;
    let mut link = accept(&listener).await;
    let ask = async |id: &str| {
        let call = service.get("/auth/me").header("x-request-id", id);
        call.await.refused(401, "missing_token");
    };
    ask("first").await;
    hear(&mut link, "first").await;
    let reading = tokio::spawn(async move { while let Ok(Some(_)) = link.next_line().await {} });
    let well = latency(&service).await;

    // Stopped, and not listening any more.
    reading.abort();
    assert!(reading.await.is_err());
    drop(listener);
    let without = latency(&service).await;
    ask("while-away").await;

    // There again: nothing that waited was lost.
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut link = accept(&listener).await;
    hear(&mut link, "while-away").await;

    // It holds the connection and does not read.
    let stalled = latency(&service).await;
    for (name, time) in [("without", without), ("stalled", stalled)] {
        let bound = well * 3 + Duration::from_millis(5);
        assert!(
            time < bound,
            "{name}: {time:?}, and {well:?} when all is well"
        );
    }
    ask("last").await;
    let hearing = tokio::spawn(async move {
        hear(&mut link, "last").await;
        while let Ok(Some(_)) = link.next_line().await {}
    });
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    hearing.await.unwrap();
    assert!(!ended.stderr.contains("did not reach"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_go_over_tls_to_a_receiver_that_its_authority_vouches_for() {
    let mut receiver = TlsReceiver::start().await;
    let home = Home::new();
    let launch = || shipping(&home, receiver.port).set("SYSLOG_TLS", "true");
    // The web's authorities have not made its certificate: nothing is told to it.
    let service = launch().start().await;
    service
        .logged("the receiver of the log cannot be reached")
        .await;
    let ended = service.stop().await;
    assert!(ended.stderr.contains("did not reach"), "{ended:?}");

    let roots = receiver.roots_file();
    let launch = launch().set("SYSLOG_CA_FILE", roots.to_str().unwrap());
    let service = launch.start().await;
    let call = service.get("/auth/me").header("x-request-id", "sealed");
    call.await.refused(401, "missing_token");
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.stderr.contains("did not reach"), "{ended:?}");
    let heard = async {
        loop {
            let line = receiver.line().await;
            assert_eq!(line["@version"], "1", "{line}");
            if line["request_id"] == "sealed" {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), heard)
        .await
        .unwrap();
}

/// Or whoever searches the logs of many services would not find why one is gone.
#[tokio::test(flavor = "multi_thread")]
async fn why_a_service_ends_is_told_everywhere_also_where_it_never_served() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let traces = &[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:4318"),
        // A machine without authorities: no client can be made.
        ("SSL_CERT_FILE", "/dev/null"),
    ][..];
    for (settings, why) in [
        (traces, "spans cannot be sent: "),
        (&[("PORT", &*port)], "cannot be listened on: "),
    ] {
        let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let home = Home::new();
        let launch = shipping(&home, receiver.local_addr().unwrap().port());
        let launch = launch.set("JSON_LOGS", "true").set("LOG_DIR", "logs");
        let launch = settings
            .iter()
            .fold(launch, |launch, (name, value)| launch.set(name, value));
        let hearing = tokio::spawn(async move {
            let mut link = accept(&receiver).await;
            let mut last = None;
            while let Ok(Some(line)) = link.next_line().await {
                last = Some(line);
            }
            last
        });
        let ended = launch.run().await;
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert_eq!(ended.stdout, "");
        let file = fs::read_dir(home.path().join("logs")).unwrap().next();
        let file = fs::read_to_string(file.unwrap().unwrap().path()).unwrap();
        let shipped = hearing.await.unwrap();
        for last in [
            ended.stderr.lines().last(),
            file.lines().last(),
            shipped.as_deref(),
        ] {
            let last: Value = serde_json::from_str(last.unwrap()).unwrap();
            assert_eq!(last["level"], "ERROR", "{last}");
            assert_eq!(last["message"], "the service ends");
            assert!(last["error"].as_str().unwrap().contains(why), "{last}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_an_error_tells_its_causes_and_on_demand_the_place() {
    for (wish, is_told) in [("1", true), ("0", false)] {
        let launch = Home::new().service().quick().set("JSON_LOGS", "true");
        let launch = launch.set("RUST_BACKTRACE", wish);
        let service = launch.set("REDIS_URL", "redis://127.0.0.1:1").start().await;
        let ended = service.stop().await;
        let mut lines = ended.stderr.lines();
        let line = lines.find(|line| line.contains("\"ERROR\"")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        let error = line["error"].as_str().unwrap();
        assert!(error.starts_with("Redis refused or hung up: "), "{line}");
        let place = line["backtrace"].as_str();
        assert_eq!(place.is_some(), is_told, "{line}");
        assert!(
            place.is_none_or(|place| place.contains("redis_limits")),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_at_any_level_tells_a_secret_or_an_address() {
    let home = Home::new();
    let key = "Qm4Zt8Xw2Lc6Vb0Nj3Hd7Fs1Gk5Rp9Ya";
    let launch = home.service().quick().set("LOG_LEVEL", "trace");
    let launch = launch
        .set("SECRET_KEY", key)
        .set("INTERNAL_API_KEY", API_KEY);
    let service = launch.set("LOG_DIR", "logs").start().await;
    let ada = service.verified("ada").await;
    let again = service
        .post("/auth/refresh", json!({"refresh_token": ada.refresh_token}))
        .await;
    let again = again.ok(200).clone();
    let guess = "a wrong guess, nearly right";
    let login = json!({"username": "ada@example.org", "password": guess});
    service
        .post("/auth/login", login)
        .await
        .refused(401, "invalid_credentials");
    let path = format!("/auth/users/{}/email", ada.id);
    service.get(&path).by_service().await.ok(200);
    service
        .get("/auth/users/by-email/ada%40example.org")
        .by_service()
        .await
        .ok(200);
    service
        .post("/auth/password-reset-request", json!({"email": ada.email}))
        .await
        .ok(200);
    let reset = home.mail("password_reset", &ada.email).await;
    let body = json!({"token": reset.token(), "new_password": "another long passphrase"});
    service.post("/update-password", body).await.ok(200);
    service
        .get(&format!("/auth/verify-email?token={}", reset.token()))
        .await;
    service.post("/auth/login", "not json").await;
    eventually("the line of a request", async || {
        service.log().contains("/auth/verify-email").then_some(())
    })
    .await;
    let ended = service.stop().await;

    let mut log = ended.stderr;
    for file in fs::read_dir(home.path().join("logs")).unwrap() {
        log += &fs::read_to_string(file.unwrap().path()).unwrap();
    }
    assert!(log.contains("DEBUG") && log.contains("/update-password"));
    let token = reset.token().to_owned();
    let mut secrets: Vec<String> = [key, API_KEY, PASSWORD, guess, "another long passphrase"]
        .map(str::to_owned)
        .into();
    secrets.extend([ada.access_token, ada.refresh_token, token]);
    for name in ["access_token", "refresh_token"] {
        secrets.push(again[name].as_str().unwrap().to_owned());
    }
    secrets.push("ada@example.org".to_owned());
    secrets.push("ada%40example.org".to_owned());
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret}");
    }
}
