//! Models that jobs wait for and that Civitai knows: downloaded once where that
//! is allowed, into a folder that a server shares, and nothing otherwise.

use anyhow::{Context as _, Result};
use civitai_sim::{CivitaiSim, SimFile, SimVersion};
use job_service::policy::DownloadPolicy;
use model_service::{
    config::{DownloadPlace, RootConfig},
    model::ModelKind,
};
use sha2::{Digest as _, Sha256};
use stablequeue_proto::jobs::v1::{
    self as jobs, DownloadMissingPolicy, HoldReason, JobPolicy, SubmitJobRequest,
};
use system_tests::{Pair, PairOptions, Sim, pair::params};

/// The only file of Civitai, and the name that it has there.
const FILE: u64 = 70;
const NAME: &str = "model_70.safetensors";

/// A stand-in for Forge whose folder of checkpoints is a root of model-service's
/// library, and a Civitai with one checkpoint.
struct World {
    pair: Pair,
    forge: Sim,
    civitai: CivitaiSim,
    sha256: String,
}

impl World {
    async fn new(change: impl FnOnce(&mut PairOptions)) -> Result<Self> {
        let forge = Sim::with(|config| config.shared_folder = true).await?;
        let folder = forge.folder.path().join("models/Stable-diffusion");
        std::fs::create_dir_all(&folder)?;
        let civitai = CivitaiSim::start().await?;
        let file = checkpoint();
        let version = SimVersion::new(7).file(SimFile::of(FILE, &file));
        civitai.add(version.with_model("type", "Checkpoint".into()));
        let sha256 = hex::encode(Sha256::digest(&file));
        civitai.hold(FILE, "x.safetensors", file);
        // Nothing that happens here happens because of a probe or an inventory
        // that was due.
        let mut options = PairOptions::with_quiet_monitors();
        let library = &mut options.library;
        library.civitai.url = civitai.url().parse()?;
        library.civitai.download_url = civitai.url().parse()?;
        library.civitai.offline = false;
        library.roots = vec![RootConfig {
            name: "forge".to_owned(),
            path: folder,
            kind: Some(ModelKind::Checkpoint),
        }];
        let place = DownloadPlace {
            root: "forge".to_owned(),
            folder: String::new(),
        };
        library
            .download_missing
            .insert(ModelKind::Checkpoint, place);
        change(&mut options);
        let pair = Pair::start(options).await?;
        pair.add("gpu", &forge).await?;
        Ok(Self {
            pair,
            forge,
            civitai,
            sha256,
        })
    }

    /// A job for a checkpoint that the server does not have.
    async fn submit(&self, checkpoint: &str, policy: DownloadMissingPolicy) -> Result<String> {
        self.pair.submit(job(checkpoint, policy)).await
    }

    /// The words of a hold, as soon as they say this.
    async fn told(&self, id: &str, said: &str) -> Result<String> {
        let job = self.pair.job_when(id, said, |job| {
            let hold = job.hold.clone().unwrap_or_default();
            hold.reason() == HoldReason::ModelMissing && hold.message.contains(said)
        });
        Ok(job.await?.hold.unwrap_or_default().message)
    }

    /// How often files of Civitai were asked for.
    fn downloads(&self) -> usize {
        let requests = self.civitai.requests();
        let of_files = requests
            .iter()
            .filter(|request| request.path.starts_with("/api/download/"));
        of_files.count()
    }

    /// A completed job was made with the checkpoint that was downloaded.
    async fn made_with_it(&self, id: &str) -> Result<()> {
        let result = self.pair.completed(id).await?.result.unwrap_or_default();
        assert!(result.checkpoint.starts_with(NAME), "{result:?}");
        let image = self.pair.images(id).await?.pop().context("no image")?;
        let hash = format!("Model hash: {}", &self.sha256[..10]);
        assert!(image.infotext.contains(&hash), "{}", image.infotext);
        Ok(())
    }
}

/// A safetensors file of a full model.
fn checkpoint() -> Vec<u8> {
    let tensor =
        r#""model.diffusion_model.a":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}"#;
    let header = format!("{{{tensor}}}");
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend((0..4_000_u32).map(|at| (at % 251) as u8));
    file
}

fn job(checkpoint: &str, policy: DownloadMissingPolicy) -> SubmitJobRequest {
    let request = params(jobs::GenerationParams {
        prompt: "a harbour".to_owned(),
        steps: Some(1),
        width: Some(64),
        height: Some(64),
        checkpoint: checkpoint.to_owned(),
        ..jobs::GenerationParams::default()
    });
    SubmitJobRequest {
        policy: Some(JobPolicy {
            download_missing: policy.into(),
            ..JobPolicy::default()
        }),
        ..request
    }
}

/// The operation that a hold names.
fn operation(words: &str) -> &str {
    let (_, id) = words.rsplit_once("operation ").unwrap_or_default();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_two_jobs_wait_for_is_downloaded_once_and_both_are_made_with_it() -> Result<()>
{
    let world = World::new(|_| {}).await?;
    world.civitai.shut_gate(1_000);
    let first = world
        .submit(&world.sha256, DownloadMissingPolicy::Allow)
        .await?;
    let short = &world.sha256[..10];
    let second = world.submit(short, DownloadMissingPolicy::Allow).await?;
    let words = world
        .told(&first, "model-service downloads it: operation ")
        .await?;
    assert!(
        words.starts_with(&format!("gpu lacks {}; ", world.sha256)),
        "{words}"
    );
    let of_second = world
        .told(&second, "model-service downloads it: operation ")
        .await?;
    assert_eq!(operation(&words), operation(&of_second));
    assert!(world.forge.log().is_empty());
    world.civitai.open_gate();
    for id in [&first, &second] {
        world.made_with_it(id).await?;
    }
    assert_eq!(world.downloads(), 1);
    // It is there for the next one as well.
    let third = world
        .submit(&world.sha256, DownloadMissingPolicy::Never)
        .await?;
    world.made_with_it(&third).await?;
    assert_eq!(world.downloads(), 1);
    let policy = world.pair.job(&first).await?.policy.unwrap_or_default();
    assert_eq!(policy.download_missing(), DownloadMissingPolicy::Allow);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setting_holds_for_jobs_that_do_not_say() -> Result<()> {
    let world = World::new(|options| options.download_missing = DownloadPolicy::Allow).await?;
    let never = world
        .submit(&world.sha256, DownloadMissingPolicy::Never)
        .await?;
    let words = world.told(&never, "gpu lacks").await?;
    assert_eq!(words, format!("gpu lacks {}", world.sha256));
    let unsaid = DownloadMissingPolicy::Unspecified;
    let id = world.submit(&world.sha256, unsaid).await?;
    for id in [&id, &never] {
        world.made_with_it(id).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_nobody_is_asked_and_a_hash_that_civitai_does_not_know_once() -> Result<()>
{
    let mut world = World::new(|_| {}).await?;
    let unknown = "ab".repeat(32);
    let mut ids = Vec::new();
    for policy in [
        DownloadMissingPolicy::Unspecified,
        DownloadMissingPolicy::Never,
    ] {
        ids.push(world.submit(&world.sha256, policy).await?);
    }
    for _ in 0..2 {
        ids.push(world.submit(&unknown, DownloadMissingPolicy::Allow).await?);
    }
    let said = "it is not downloaded: Civitai does not know its hash";
    for id in &ids[2..] {
        world.told(id, said).await?;
    }
    for id in &ids[..2] {
        let words = world.told(id, "gpu lacks").await?;
        assert_eq!(words, format!("gpu lacks {}", world.sha256));
    }
    assert_eq!(world.civitai.request_count(), 1);
    // Another process of job-service asks model-service, which remembers.
    world.pair.stop_jobs().await?;
    world.pair.start_jobs().await?;
    let id = world.submit(&unknown, DownloadMissingPolicy::Allow).await?;
    world.told(&id, said).await?;
    assert_eq!(world.civitai.request_count(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_its_name_alone_nothing_is_downloaded_and_nobody_is_asked() -> Result<()> {
    let world = World::new(|_| {}).await?;
    for name in [NAME, "model_70", "harbour-v3"] {
        let id = world.submit(name, DownloadMissingPolicy::Allow).await?;
        let words = world
            .told(&id, "it is not downloaded: a name alone")
            .await?;
        assert!(words.starts_with(&format!("gpu lacks {name}; ")), "{words}");
    }
    assert_eq!(world.civitai.request_count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_model_service_may_not_the_hold_says_what_would_help() -> Result<()> {
    let offline = World::new(|options| options.library.civitai.offline = true).await?;
    let without = World::new(|options| options.library.download_missing.clear()).await?;
    for (world, said) in [
        (offline, "--offline"),
        (without, "--download-missing checkpoint="),
    ] {
        let id = world
            .submit(&world.sha256, DownloadMissingPolicy::Allow)
            .await?;
        let words = world.told(&id, "it is not downloaded: ").await?;
        assert!(words.contains(said), "{words}");
        assert_eq!(world.civitai.request_count(), 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_either_service_goes_on_with_the_one_download() -> Result<()> {
    let mut world = World::new(|_| {}).await?;
    world.civitai.shut_gate(1_000);
    let id = world
        .submit(&world.sha256, DownloadMissingPolicy::Allow)
        .await?;
    let said = "model-service downloads it: operation ";
    let before = world.told(&id, said).await?;
    world.pair.stop_models().await?;
    world.pair.stop_jobs().await?;
    world.pair.start_models().await?;
    world.pair.start_jobs().await?;
    let again = world
        .submit(&world.sha256, DownloadMissingPolicy::Allow)
        .await?;
    let after = world.told(&again, said).await?;
    assert_eq!(operation(&before), operation(&after));
    world.civitai.open_gate();
    for id in [&id, &again] {
        world.made_with_it(id).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_server_that_may_have_it_is_away_nothing_is_downloaded() -> Result<()> {
    let world = World::new(|_| {}).await?;
    let other = Sim::instant().await?;
    world.pair.add("other", &other).await?;
    world.pair.cordon("other").await?;
    let id = world
        .submit(&world.sha256, DownloadMissingPolicy::Allow)
        .await?;
    world
        .told(&id, "while nobody knows whether other has it")
        .await?;
    assert_eq!(world.civitai.request_count(), 0);
    world.pair.uncordon("other").await?;
    world.made_with_it(&id).await
}
