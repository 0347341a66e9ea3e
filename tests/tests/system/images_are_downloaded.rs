//! The bytes of an image come whole, in pieces, from wherever they are asked.

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use stablequeue_proto::jobs::v1::{
    self as jobs, DownloadImageRequest, DownloadImageResponse, GenerationParams,
};
use system_tests::{Pair, PairOptions, Sim, pair::params};
use tonic::{Code, Status};

/// The most that one message carries.
const CHUNK_BYTES: usize = 786_432;

async fn download(
    pair: &Pair,
    id: &str,
    offset: i64,
) -> Result<Vec<DownloadImageResponse>, Status> {
    let request = DownloadImageRequest {
        job_id: id.to_owned(),
        position: 0,
        offset_bytes: offset,
    };
    let mut client = pair.jobs().await.expect("job-service is there");
    let mut stream = client.download_image(request).await?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_join_to_the_file_from_every_offset() -> Result<()> {
    let mut options = PairOptions::default();
    // A large picture takes a while to be packed, most of all by a busy machine.
    options.pace.answer_grace = std::time::Duration::from_secs(30);
    let pair = Pair::start(options).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    // An unfinished picture is noise, which packs badly and so is large.
    let id = pair
        .submit(params(GenerationParams {
            prompt: "noise".to_owned(),
            steps: Some(150),
            width: Some(1024),
            height: Some(1024),
            ..GenerationParams::default()
        }))
        .await?;
    sim.sim.gate().load(1);
    sim.sim.gate().step(1);
    sim.until(|log| log.first().is_some_and(|one| one.steps_done == 1))
        .await?;
    pair.cancel(&id).await?;
    pair.ended(&id).await?;
    let image = pair.images(&id).await?.remove(0);
    let file = std::fs::read(pair.image_path(&image.sha256))?;
    assert!(
        file.len() > CHUNK_BYTES,
        "{} bytes are too few for this test",
        file.len()
    );
    let size = i64::try_from(file.len())?;
    for offset in [0, 1, 786_432, size - 1, size] {
        let messages = download(&pair, &id, offset).await?;
        let (head, chunks) = messages.split_first().context("nothing came")?;
        assert_eq!(head.image.as_ref(), Some(&image));
        assert!(head.data.is_empty());
        let mut bytes = file[..usize::try_from(offset)?].to_vec();
        for chunk in chunks {
            assert_eq!(chunk.offset_bytes, i64::try_from(bytes.len())?);
            assert!(!chunk.data.is_empty() && chunk.data.len() <= CHUNK_BYTES);
            bytes.extend_from_slice(&chunk.data);
        }
        assert_eq!(
            hex::encode(Sha256::digest(&bytes)),
            image.sha256,
            "from {offset}"
        );
    }
    for offset in [-1, size + 1] {
        let status = download(&pair, &id, offset)
            .await
            .expect_err("beyond the file");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_picture_twice_is_one_file() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add_as("gpu", &sim, jobs::ServerUsage::Shared).await?;
    let same = || {
        params(GenerationParams {
            prompt: "twins".to_owned(),
            steps: Some(1),
            width: Some(64),
            height: Some(64),
            seed: Some(5),
            subseed: Some(5),
            ..GenerationParams::default()
        })
    };
    let (one, two) = (pair.submit(same()).await?, pair.submit(same()).await?);
    pair.completed(&one).await?;
    pair.completed(&two).await?;
    let (one, two) = (pair.images(&one).await?, pair.images(&two).await?);
    assert_eq!(one[0].sha256, two[0].sha256);
    let folder = pair.image_path(&one[0].sha256);
    let folder = folder.parent().context("no folder")?;
    assert_eq!(std::fs::read_dir(folder)?.count(), 1);
    Ok(())
}
