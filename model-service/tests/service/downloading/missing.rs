//! Models that jobs wait for: which are downloaded, once, and under which name.

use std::fs;

use civitai_sim::{SimFile, SimVersion};
use model_service::Config;
use model_service::config::DownloadPlace;
use model_service::model::ModelKind;
use sha2::{Digest as _, Sha256};
use stablequeue_proto::admin::v1::OperationState;
use stablequeue_proto::models::v1::MissingModelState as State;
use stablequeue_proto::models::v1::*;
use tonic::Status;

use super::fixture::{Downloading, FILE, VERSION, content};
use crate::harness::{fields, lora, soon};

/// Where LoRAs go, and nothing else.
pub(super) fn loras_go_to_new(config: &mut Config) {
    let place = DownloadPlace {
        root: "main".to_owned(),
        folder: "new".to_owned(),
    };
    config
        .library
        .download_missing
        .insert(ModelKind::Lora, place);
}

pub(super) fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

impl Downloading {
    /// One whose configuration has a place for LoRAs.
    pub(super) async fn for_jobs() -> Self {
        Self::with(loras_go_to_new).await
    }

    pub(super) async fn missing_as(
        &mut self,
        references: Vec<ModelReference>,
    ) -> Result<Vec<MissingModel>, Status> {
        let request = DownloadMissingRequest { references };
        let answer = soon(self.service.library.download_missing(request)).await?;
        Ok(answer.into_inner().models)
    }

    /// What becomes of a LoRA.
    pub(super) async fn missing(&mut self, text: &str) -> MissingModel {
        let mut models = self.missing_as(vec![a_lora(text)]).await.unwrap();
        assert_eq!(models.len(), 1);
        models.remove(0)
    }

    /// The same of one that must be under way; its operation.
    pub(super) async fn under_way(&mut self, text: &str) -> String {
        let missing = self.missing(text).await;
        assert_eq!(missing.state(), State::Downloading, "{missing:?}");
        missing.operation.unwrap().operation_id
    }

    pub(super) async fn end_of(&mut self, operation_id: &str) -> OperationState {
        let operation = self.operation(operation_id).await;
        self.service.ended(Some(operation)).await.state()
    }
}

pub(super) fn a_lora(text: &str) -> ModelReference {
    ModelReference {
        reference: text.to_owned(),
        r#type: ModelType::Lora.into(),
    }
}

#[tokio::test]
async fn a_hash_is_downloaded_once_however_often_and_by_whichever_digits_it_is_asked_for() {
    let mut downloading = Downloading::for_jobs().await;
    let file = content(1, 5_000);
    let sha256 = digest(&file);
    downloading.publish(&file);
    downloading.sim.shut_gate(1_000);
    let first = downloading.under_way(&sha256).await;
    downloading.reached(&first, 1_000).await;
    let title = format!("fox.safetensors [{}]", &sha256[..10]);
    for text in [&sha256.to_uppercase(), &sha256[..10], &title] {
        let missing = downloading.missing(text).await;
        assert_eq!(missing.sha256, sha256, "{text}");
        let operation = missing.operation.unwrap();
        assert_eq!(operation.operation_id, first, "{text}");
        assert_eq!(operation.target, format!("sha256:{sha256}"));
        let total = operation.progress.unwrap().total;
        assert_eq!(usize::try_from(total).unwrap(), file.len(), "{text}");
    }
    downloading.sim.open_gate();
    assert_eq!(downloading.end_of(&first).await, OperationState::Succeeded);
    let missing = downloading.missing(&sha256).await;
    assert_eq!(missing.state(), State::AlreadyInLibrary, "{missing:?}");
    let path = format!("new/model_{FILE}.safetensors");
    assert!(missing.message.contains(&path), "{missing:?}");
    assert_eq!(downloading.read(&path), file);
    assert_eq!(downloading.asked("/storage/").len(), 1);
    let model = downloading
        .service
        .named(&format!("model_{FILE}.safetensors"))
        .await;
    assert_eq!(model.hash_sha256, sha256);
}

#[tokio::test]
async fn several_are_answered_each_by_itself() {
    let mut downloading = Downloading::for_jobs().await;
    let file = content(1, 100);
    downloading.publish(&file);
    let unknown = "ab".repeat(32);
    let checkpoint = ModelReference {
        reference: "cd".repeat(32),
        r#type: ModelType::Checkpoint.into(),
    };
    let references = vec![
        a_lora("fox"),
        a_lora(&digest(&file)),
        a_lora(&unknown),
        checkpoint,
    ];
    let models = downloading.missing_as(references).await.unwrap();
    let states: Vec<State> = models.iter().map(MissingModel::state).collect();
    let wanted = [
        State::NotIdentified,
        State::Downloading,
        State::NotAtCivitai,
        State::NotAllowed,
    ];
    assert_eq!(states, wanted, "{models:?}");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_with_every_fault() {
    let mut downloading = Downloading::for_jobs().await;
    let untyped = |text: &str| ModelReference {
        reference: text.to_owned(),
        ..ModelReference::default()
    };
    for (references, wanted) in [
        (Vec::new(), vec!["references"]),
        (vec![a_lora("x"); 17], vec!["references"]),
        (
            vec![a_lora("x"), untyped(""), untyped("y")],
            vec![
                "references[1].reference",
                "references[1].type",
                "references[2].type",
            ],
        ),
    ] {
        let refused = downloading.missing_as(references).await.unwrap_err();
        assert_eq!(fields(&refused), wanted);
    }
}

#[tokio::test]
async fn a_name_stands_for_the_one_model_of_the_registry_whose_hash_is_known() {
    let mut downloading = Downloading::for_jobs().await;
    let file = content(1, 100);
    downloading.publish(&file);
    let registered = Model {
        hash_sha256: digest(&file),
        ..lora("grey fox.safetensors")
    };
    downloading.service.create(registered).await;
    let operation = downloading.under_way("grey fox").await;
    assert_eq!(
        downloading.end_of(&operation).await,
        OperationState::Succeeded
    );
    // Under the name by which it is asked for.
    assert_eq!(downloading.read("new/grey fox.safetensors"), file);
}

#[tokio::test]
async fn a_name_that_another_model_has_gets_digits_of_the_hash() {
    let mut downloading = Downloading::for_jobs().await;
    let name = format!("model_{FILE}.safetensors");
    let other = downloading
        .shelf
        .put_lora(&format!("mine/{name}"), "another");
    downloading.service.scan().await;
    let file = content(1, 100);
    downloading.publish(&file);
    let operation = downloading.under_way(&digest(&file)).await;
    assert_eq!(
        downloading.end_of(&operation).await,
        OperationState::Succeeded
    );
    let digits = &digest(&file)[..10];
    let made = format!("model_{FILE}.{digits}.safetensors");
    assert_eq!(downloading.names("new"), [made]);
    assert!(other.exists());
}

#[tokio::test]
async fn what_is_in_the_library_is_not_downloaded_until_it_is_gone() {
    let mut downloading = Downloading::for_jobs().await;
    let file = content(1, 100);
    downloading.publish(&file);
    let there = downloading.shelf.put("mine/fox.safetensors", &file);
    downloading.service.scan().await;
    let hashing = StartHashingRequest::default();
    let started = downloading.service.library.start_hashing(hashing).await;
    let operation = started.unwrap().into_inner().operation;
    downloading.service.report(operation).await;
    let missing = downloading.missing(&digest(&file)[..10]).await;
    assert_eq!(missing.state(), State::AlreadyInLibrary, "{missing:?}");
    assert!(
        missing.message.contains("main/mine/fox.safetensors"),
        "{missing:?}"
    );
    assert_eq!(downloading.sim.request_count(), 0);
    // No scan has noticed that it is gone.
    fs::remove_file(there).unwrap();
    let operation = downloading.under_way(&digest(&file)).await;
    assert_eq!(
        downloading.end_of(&operation).await,
        OperationState::Succeeded
    );
}

#[tokio::test]
async fn a_restart_goes_on_with_the_one_download() {
    let mut downloading = Downloading::for_jobs().await;
    let file = content(1, 5_000);
    let sha256 = digest(&file);
    downloading.publish(&file);
    downloading.sim.shut_gate(1_000);
    let first = downloading.under_way(&sha256).await;
    downloading.reached(&first, 1_000).await;
    let between = |sim: &civitai_sim::CivitaiSim| sim.open_gate();
    let mut downloading = downloading.restarted_as(between, loras_go_to_new).await;
    let missing = downloading.missing(&sha256).await;
    match missing.state() {
        State::Downloading => assert_eq!(missing.operation.unwrap().operation_id, first),
        state => assert_eq!(state, State::AlreadyInLibrary),
    }
    assert_eq!(downloading.end_of(&first).await, OperationState::Succeeded);
    let missing = downloading.missing(&sha256).await;
    assert_eq!(missing.state(), State::AlreadyInLibrary, "{missing:?}");
    assert_eq!(
        downloading.names("new"),
        [format!("model_{FILE}.safetensors")]
    );
}

#[tokio::test]
async fn a_file_that_civitai_has_replaced_since_does_not_take_its_place() {
    let mut downloading = Downloading::with(|config| {
        loras_go_to_new(config);
        config.library.downloads_at_once = 1;
    })
    .await;
    let (file, other) = (content(1, 5_000), content(2, 5_000));
    downloading.publish(&file);
    // Another download has the turn, so that the answer is older than the fetching.
    let blocker = SimVersion::new(9).file(SimFile::of(90, &other));
    downloading.sim.add(blocker);
    downloading.sim.hold(90, "x.safetensors", other.clone());
    downloading.sim.shut_gate(1_000);
    let blocking = downloading
        .start(|asked| asked.version_id = "9".to_owned())
        .await;
    downloading.reached(&blocking.operation_id, 1_000).await;
    let operation = downloading.under_way(&digest(&file)).await;
    let replaced = content(3, 5_000);
    downloading
        .sim
        .add(SimVersion::new(VERSION).file(SimFile::of(FILE, &replaced)));
    downloading.sim.hold(FILE, "fox.safetensors", replaced);
    downloading.sim.open_gate();
    let ended = downloading.operation(&operation).await;
    let ended = downloading.service.ended(Some(ended)).await;
    assert_eq!(ended.error.unwrap().reason, "CIVITAI_FILE_REPLACED");
    assert!(!downloading.shelf.path("new").exists());
}
