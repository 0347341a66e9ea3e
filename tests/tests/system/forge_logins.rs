//! Servers that ask for logins: jobs run there with the logins that are kept,
//! wait where they are wrong or lost, and nobody gets to see a password.

use std::fs;

use anyhow::Result;
use forge_sim::{Fault, Target, Users};
use prost::Message as _;
use stablequeue_proto::jobs::v1::{
    CreateServerRequest, HoldReason, ListServersRequest, Server, ServerHealth, ServerLogin,
    UpdateServerRequest,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img, wait};
use tonic::Status;
use tonic_types::StatusExt as _;

const API_PASSWORD: &str = "dolphin:4711";
const UI_PASSWORD: &str = "ocelot & 0815";
const WRONG_PASSWORD: &str = "marmoset-1234";
const KEY_FILE: &str = "credentials.key";

/// A stand-in that asks at its API and its UI.
async fn asking() -> Result<Sim> {
    let users = |text: String| Users::parse(&text).map_err(anyhow::Error::msg);
    let api = users(format!("alice:{API_PASSWORD}"))?;
    let ui = users(format!("carol:{UI_PASSWORD}"))?;
    Sim::with(|config| {
        config.api_auth = api;
        config.gradio_auth = ui;
    })
    .await
}

fn login(user: &str, password: &str) -> Option<ServerLogin> {
    Some(ServerLogin {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

fn server(sim: &Sim, api_password: &str) -> Server {
    Server {
        alias: "gpu".to_owned(),
        base_url: sim.sim.url(),
        api_login: login("alice", api_password),
        ui_login: login("carol", UI_PASSWORD),
        ..Server::default()
    }
}

async fn create(pair: &Pair, server: Server) -> Result<Server, Status> {
    let request = CreateServerRequest {
        server: Some(server),
        request_id: "once".to_owned(),
    };
    let mut servers = pair.servers().await.expect("job-service is there");
    let answer = servers.create_server(request).await?;
    Ok(answer.into_inner().server.unwrap_or_default())
}

async fn update(pair: &Pair, server: Server, mask: &[&str]) -> Result<Server, Status> {
    let request = UpdateServerRequest {
        server: Some(server),
        update_mask: (!mask.is_empty()).then(|| prost_types::FieldMask {
            paths: mask.iter().map(|&path| path.to_owned()).collect(),
        }),
    };
    let mut servers = pair.servers().await.expect("job-service is there");
    let answer = servers.update_server(request).await?;
    Ok(answer.into_inner().server.unwrap_or_default())
}

/// Waits until a server has this health; its message then.
async fn until(pair: &Pair, wanted: ServerHealth) -> Result<String> {
    wait::until(wanted.as_str_name(), || async {
        let server = pair.server("gpu").await;
        let status = server
            .map_err(|error| error.to_string())?
            .status
            .unwrap_or_default();
        let known = wanted != ServerHealth::Healthy || status.inventory_time.is_some();
        if status.health() == wanted && known {
            Ok(status.message)
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await
}

fn fields(status: &Status) -> Vec<String> {
    let mut fields: Vec<String> = status
        .get_details_bad_request()
        .into_iter()
        .flat_map(|details| details.field_violations)
        .map(|one| one.field)
        .collect();
    fields.sort();
    fields
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_completes_where_the_api_and_the_ui_ask_even_when_its_answer_is_lost() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = asking().await?;
    let shown = create(&pair, server(&sim, API_PASSWORD)).await?;
    assert!(shown.has_api_login && shown.has_ui_login);
    assert_eq!((shown.api_login, shown.ui_login), (None, None));
    assert_eq!(until(&pair, ServerHealth::Healthy).await?, "healthy");
    let id = pair.submit(txt2img("answered")).await?;
    pair.completed(&id).await?;

    sim.sim.script(Fault::CutBeforeAnswer);
    let id = pair.submit(txt2img("lost")).await?;
    let job = pair.completed(&id).await?;
    assert_eq!((job.attempts.len(), sim.log().len()), (1, 2));
    let images = pair.images(&id).await?;
    assert!(images[0].infotext.starts_with("lost\n"), "{images:?}");
    let requests = sim.sim.requests();
    let files = requests.iter().filter(|one| one.path.starts_with("/file="));
    assert!(files.count() >= 1);
    assert_eq!(sim.asked("/login"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_holds_jobs_until_it_is_set_right_and_spends_nothing() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = asking().await?;
    create(&pair, server(&sim, WRONG_PASSWORD)).await?;
    let message = until(&pair, ServerHealth::Unauthenticated).await?;
    for part in [
        "Incorrect username or password",
        "api_login",
        "UpdateServer",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let id = pair.submit(txt2img("patience")).await?;
    let hold = pair.held(&id, HoldReason::ServerUnavailable).await?;
    assert!(hold.message.contains("server.api_login"), "{hold:?}");

    let right = Server {
        alias: "gpu".to_owned(),
        api_login: login("alice", API_PASSWORD),
        ..Server::default()
    };
    let shown = update(&pair, right, &[]).await?;
    assert!(shown.has_api_login && shown.has_ui_login, "the other stays");
    let job = pair.completed(&id).await?;
    assert_eq!((job.attempts.len(), job.attempts_spent), (1, 1));

    // Refused only when the job is sent.
    let code = 401;
    let body = r#"{"detail":"Incorrect username or password"}"#.to_owned();
    let target = Target::Path("/sdapi/v1/txt2img".to_owned());
    sim.sim.script_on(target, Fault::Status { code, body });
    let id = pair.submit(txt2img("refused once")).await?;
    let job = pair.completed(&id).await?;
    assert_eq!((job.attempts.len(), job.attempts_spent), (2, 1));
    assert_eq!(job.attempts[0].http_status, 401);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_at_the_ui_is_told_and_jobs_run_all_the_same() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = asking().await?;
    let wrong = Server {
        ui_login: login("carol", WRONG_PASSWORD),
        ..server(&sim, API_PASSWORD)
    };
    create(&pair, wrong).await?;
    let message = until(&pair, ServerHealth::Healthy).await?;
    for part in ["healthy, but", "ui_login", "Incorrect credentials."] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let id = pair.submit(txt2img("anyway")).await?;
    pair.completed(&id).await?;
    assert_eq!(sim.asked("/login"), 1, "it is not tried again and again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_loses_the_logins_and_nothing_else() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = asking().await?;
    create(&pair, server(&sim, API_PASSWORD)).await?;
    until(&pair, ServerHealth::Healthy).await?;
    let file = pair.folder.path().join(KEY_FILE);
    let key = fs::read(&file)?;

    pair.stop_jobs().await?;
    fs::write(&file, "ab".repeat(32))?;
    pair.start_jobs().await?;
    let message = until(&pair, ServerHealth::Unauthenticated).await?;
    for part in [
        "api_login",
        "another key",
        "restore the key",
        "UpdateServer",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let id = pair.submit(txt2img("waits for a key")).await?;
    pair.held(&id, HoldReason::ServerUnavailable).await?;
    let asked = sim.asked("/sdapi/v1/options");
    assert!(pair.server("gpu").await?.has_api_login);

    pair.stop_jobs().await?;
    fs::write(&file, &key)?;
    pair.start_jobs().await?;
    pair.completed(&id).await?;
    assert!(sim.asked("/sdapi/v1/options") > asked);

    // Lost for good: the logins are set again, and so sealed with a new key.
    pair.stop_jobs().await?;
    fs::remove_file(&file)?;
    pair.start_jobs().await?;
    until(&pair, ServerHealth::Unauthenticated).await?;
    update(
        &pair,
        server(&sim, API_PASSWORD),
        &["api_login", "ui_login"],
    )
    .await?;
    until(&pair, ServerHealth::Healthy).await?;
    assert_ne!(fs::read(&file)?, key);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_in_the_url_is_moved_and_one_that_is_not_set_again_stays_behind() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = asking().await?;
    let in_url = sim
        .sim
        .url()
        .replace("http://", "http://alice:dolphin%3A4711@");
    let given = Server {
        base_url: in_url.clone(),
        api_login: None,
        ..server(&sim, "")
    };
    let shown = create(&pair, given).await?;
    assert_eq!(shown.base_url, sim.sim.url());
    assert!(shown.has_api_login);
    until(&pair, ServerHealth::Healthy).await?;

    // Whoever may change the address does not get the passwords sent to it.
    let other = asking().await?;
    let moved = Server {
        alias: "gpu".to_owned(),
        base_url: other.sim.url(),
        ..Server::default()
    };
    let shown = update(&pair, moved, &[]).await?;
    assert!(!shown.has_api_login && !shown.has_ui_login, "{shown:?}");
    let message = until(&pair, ServerHealth::Unauthenticated).await?;
    assert!(message.contains("asks for a login"), "{message}");
    assert_eq!(other.asked("/login"), 0);

    let back = Server {
        alias: "gpu".to_owned(),
        base_url: in_url,
        ..Server::default()
    };
    let shown = update(&pair, back, &[]).await?;
    assert_eq!(
        (shown.base_url, shown.has_api_login, shown.has_ui_login),
        (sim.sim.url(), true, false)
    );
    until(&pair, ServerHealth::Healthy).await?;
    let bare = Server {
        alias: "gpu".to_owned(),
        ..Server::default()
    };
    let shown = update(&pair, bare, &["api_login"]).await?;
    assert!(!shown.has_api_login);
    until(&pair, ServerHealth::Unauthenticated).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_with_logins_is_told_at_once_and_without_them() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = asking().await?;
    let bad = Server {
        base_url: "http://alice@127.0.0.1".to_owned(),
        api_login: login("al:ice", ""),
        ui_login: login("", &format!("{WRONG_PASSWORD}\n")),
        ..server(&sim, "")
    };
    let two = Server {
        base_url: format!("http://alice:{WRONG_PASSWORD}@127.0.0.1"),
        ..server(&sim, API_PASSWORD)
    };
    let parts = [
        "server.api_login.password",
        "server.api_login.user",
        "server.base_url",
        "server.ui_login.password",
        "server.ui_login.user",
    ];
    for (server, wanted) in [(bad, &parts[..]), (two, &["server.api_login"][..])] {
        let created = create(&pair, server.clone()).await;
        let updated = update(&pair, server, &[]).await;
        for refused in [created, updated] {
            let refused = refused.expect_err("it is wrong");
            assert_eq!(fields(&refused), wanted);
            let shown = format!("{refused:?} {:?}", refused.details());
            assert!(!shown.contains(WRONG_PASSWORD), "{shown}");
        }
    }
    create(&pair, server(&sim, API_PASSWORD)).await?;
    let removed = Server {
        alias: "gpu".to_owned(),
        base_url: format!("http://alice:{API_PASSWORD}@127.0.0.1"),
        ..Server::default()
    };
    let refused = update(&pair, removed, &["base_url", "api_login"]).await;
    let refused = refused.expect_err("set and removed");
    assert_eq!(fields(&refused), ["server.api_login"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_in_an_answer_or_in_the_database_even_for_a_repeated_call() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = asking().await?;
    let wrong = server(&sim, WRONG_PASSWORD);
    let created = create(&pair, wrong.clone()).await?;
    // The same call, whatever password it brings: of none a digest is kept.
    let again = create(&pair, server(&sim, API_PASSWORD)).await?;
    assert_eq!(created.etag, again.etag);
    until(&pair, ServerHealth::Unauthenticated).await?;
    let updated = update(&pair, server(&sim, API_PASSWORD), &["api_login"]).await?;
    until(&pair, ServerHealth::Healthy).await?;
    let got = pair.server("gpu").await?;
    let mut servers = pair.servers().await?;
    let listed = servers.list_servers(ListServersRequest::default()).await?;
    let database = pair.jobs_database();
    let wal = database.with_extension("sqlite-wal");
    let seen = [
        ("created", created.encode_to_vec()),
        ("again", again.encode_to_vec()),
        ("updated", updated.encode_to_vec()),
        ("got", got.encode_to_vec()),
        ("listed", listed.into_inner().encode_to_vec()),
        ("debug", format!("{wrong:?}").into_bytes()),
        ("database", fs::read(database)?),
        ("wal", fs::read(wal)?),
    ];
    for (name, bytes) in seen {
        for password in [API_PASSWORD, UI_PASSWORD, WRONG_PASSWORD] {
            let mut parts = bytes.windows(password.len());
            let found = parts.any(|part| part == password.as_bytes());
            assert!(!found, "{password} is in {name}");
        }
        assert!(!bytes.is_empty(), "{name}");
    }
    Ok(())
}
