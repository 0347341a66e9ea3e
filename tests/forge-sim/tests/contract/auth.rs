//! Logins against exchange 10 and the facts under "Auth" and "Process modes": who is asked where, and in which words
//! the others are refused.

use forge_sim::{SimConfig, Users};
use reqwest::{Response, header};
use serde_json::{Value, json};

use crate::{
    exchange::recorded,
    server::{Server, small, small_with},
};

const FORM: &str = "application/x-www-form-urlencoded";

async fn with_api_auth() -> Server {
    Server::start(|config: SimConfig| SimConfig {
        api_auth: Users::parse("alice:secret,bob:pa:ss").unwrap(),
        ..config
    })
    .await
}

async fn with_gradio_auth() -> Server {
    Server::start(|config: SimConfig| SimConfig {
        gradio_auth: Users::parse("carol:p&ss word").unwrap(),
        ..config
    })
    .await
}

async fn login(server: &Server, form: &'static str) -> Response {
    let request = server.client.post(format!("{}/login", server.sim.url()));
    let request = request.header(header::CONTENT_TYPE, FORM).body(form);
    request.send().await.unwrap()
}

fn cookies(response: &Response) -> String {
    let cookies = response.headers().get_all(header::SET_COOKIE);
    let pairs = cookies.iter().map(|cookie| {
        let cookie = cookie.to_str().unwrap();
        cookie.split_once(';').unwrap().0.to_owned()
    });
    pairs.collect::<Vec<_>>().join("; ")
}

async fn file(server: &Server, path: &str, cookies: &str) -> Response {
    let url = format!("{}/file={path}", server.sim.url());
    let request = server.client.get(url).header(header::COOKIE, cookies);
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_caller_without_the_login_is_refused_as_in_exchange_10() {
    let server = with_api_auth().await;
    let cases = [
        ("01-no-auth-txt2img", None),
        ("02-wrong-password", Some("Basic YWxpY2U6d3Jvbmc=")),
        ("03-unknown-user", Some("Basic bWFsbG9yeTpzZWNyZXQ=")),
        ("04-bearer-instead", Some("Bearer YWxpY2U6c2VjcmV0")),
        ("05-malformed-basic", Some("Basic not*base64")),
        ("08-no-auth-progress", None),
        ("09-no-auth-interrupt", None),
        ("18-no-auth-bad-json", None),
    ];
    for (name, credentials) in cases {
        let exchange = recorded(&format!("10-api-only-with-auth/{name}"));
        let url = format!("{}{}", server.sim.url(), exchange.path);
        let mut request = server
            .client
            .request(exchange.method.parse().unwrap(), url)
            .body(exchange.request.clone().unwrap_or_default());
        if let Some(credentials) = credentials {
            request = request.header(header::AUTHORIZATION, credentials);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), exchange.status, "{name}");
        let asks = answer.headers().get(header::WWW_AUTHENTICATE);
        let asked = exchange
            .headers
            .iter()
            .find(|(key, _)| key == "www-authenticate");
        assert_eq!(
            asks.map(|value| value.to_str().unwrap()),
            asked.map(|(_, value)| value.as_str()),
            "{name}"
        );
        assert_eq!(answer.text().await.unwrap(), exchange.body, "{name}");
    }
    assert!(server.sim.log().is_empty());
}

#[tokio::test]
async fn every_user_of_the_list_may_use_the_api() {
    let server = with_api_auth().await;
    for (user, password) in [("alice", "secret"), ("bob", "pa:ss")] {
        let request = server
            .client
            .post(format!("{}/sdapi/v1/txt2img", server.sim.url()))
            .basic_auth(user, Some(password))
            .body(small("with-a-login").to_string());
        assert_eq!(request.send().await.unwrap().status(), 200, "{user}");
    }
    assert_eq!(server.sim.log().len(), 2);
}

#[tokio::test]
async fn the_api_login_covers_neither_loras_nor_the_routes_of_the_ui() {
    let server = with_api_auth().await;
    for (method, path) in [
        ("GET", "/sdapi/v1/loras"),
        ("POST", "/sdapi/v1/refresh-loras"),
        ("GET", "/internal/ping"),
        ("GET", "/internal/pending-tasks"),
        ("GET", "/app_id"),
    ] {
        assert_eq!(
            server.send(method, path, None).await.status(),
            200,
            "{path}"
        );
    }
    let task = server.track("nobody").await;
    assert_eq!(task["active"], false);
    let wrong = server.send("GET", "/sdapi/v1/txt2img", None).await;
    assert_eq!(wrong.status(), 405);
}

#[tokio::test]
async fn files_are_fetched_with_the_cookies_of_a_login_until_the_next_start() {
    let mut server = with_gradio_auth().await;
    let saving = json!({ "save_images": true });
    // The API and what follows tasks ask nobody.
    server.txt2img(small_with("saved", &saving)).await;
    server.track("saved").await;
    server.get("/app_id").await;
    let path = server.sim.log()[0].files[0].clone();

    for cookies in ["", "access-token=guessed"] {
        let refused = file(&server, &path, cookies).await;
        assert_eq!(refused.status(), 401);
        assert_eq!(
            refused.text().await.unwrap(),
            r#"{"detail":"Not authenticated"}"#
        );
    }
    for path in ["/config", "/queue/data?session_hash=x"] {
        let refused = server.send("GET", path, None).await;
        assert_eq!(refused.status(), 401, "{path}");
    }
    let answer = login(&server, "username=carol&password=p%26ss+word").await;
    assert_eq!(answer.status(), 200);
    let kept = cookies(&answer);
    assert_eq!(answer.text().await.unwrap(), r#"{"success":true}"#);
    assert_eq!(file(&server, &path, &kept).await.status(), 200);

    server.sim.restart().await.unwrap();
    assert_eq!(file(&server, &path, &kept).await.status(), 401);
}

#[tokio::test]
async fn a_wrong_login_at_the_ui_gets_no_cookies() {
    let server = with_gradio_auth().await;
    for form in [
        "username=carol&password=x",
        "username=x&password=p%26ss+word",
    ] {
        let answer = login(&server, form).await;
        assert_eq!(answer.status(), 400);
        assert_eq!(cookies(&answer), "");
        assert_eq!(
            answer.text().await.unwrap(),
            r#"{"detail":"Incorrect credentials."}"#
        );
    }
    assert_eq!(login(&server, "username=carol").await.status(), 422);
}

#[tokio::test]
async fn without_the_ui_nothing_of_it_is_there_as_in_exchanges_10_12_to_10_22() {
    let server = Server::start(|config: SimConfig| SimConfig {
        ui: false,
        ..config
    })
    .await;
    for name in [
        "12-internal-progress-absent",
        "13-internal-ping-absent",
        "14-root",
        "22-app-id-absent",
    ] {
        let exchange = recorded(&format!("10-api-only-with-auth/{name}"));
        let answer = server
            .send(
                &exchange.method,
                &exchange.path,
                exchange.request.as_deref(),
            )
            .await;
        assert_eq!(answer.status(), exchange.status, "{name}");
        assert_eq!(answer.text().await.unwrap(), exchange.body, "{name}");
    }
    let saving = json!({ "save_images": true });
    let (answer, _): (Value, Value) = server.txt2img(small_with("saved", &saving)).await;
    assert_eq!(answer["images"].as_array().unwrap().len(), 1);
    let path = server.sim.log()[0].files[0].clone();
    assert_eq!(file(&server, &path, "").await.status(), 404);
}
