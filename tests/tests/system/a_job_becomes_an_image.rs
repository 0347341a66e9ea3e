//! The whole path: submit, availability, Forge, a PNG on disk.

use anyhow::Result;
use stablequeue_proto::jobs::v1::{self as jobs, JobState, Verification};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_a_target_becomes_a_png_with_its_prompt() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("a red fox in the snow")).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Completed, "{job:#?}");
    let result = job.result.clone().unwrap_or_default();
    assert_eq!(result.image_count, 1);
    assert_ne!(result.verification(), Verification::Unspecified);
    let answer = pair
        .jobs()
        .await?
        .list_job_images(jobs::ListJobImagesRequest { job_id: id })
        .await?;
    let image = answer.into_inner().images.remove(0);
    assert!(
        image.infotext.starts_with("a red fox in the snow\n"),
        "{}",
        image.infotext
    );
    let bytes = std::fs::read(pair.image_path(&image.sha256))?;
    assert_eq!(i64::try_from(bytes.len())?, image.size_bytes);
    let text = b"a red fox in the snow";
    assert!(bytes.windows(text.len()).any(|window| window == text));
    Ok(())
}
