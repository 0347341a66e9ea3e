//! What the first command of the README promises.

use anyhow::Result;
use forge_sim::{ForgeSim, SimConfig};
use service_kit::exit::Exit;

use crate::program::{Staying, infotext, output, quickstart, shown};

#[test]
fn a_run_ends_with_a_png_that_holds_the_prompt_and_so_does_the_next_on_the_same_folder()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut seeds = Vec::new();
    for prompt in ["a red fox in the snow", "the same fox, \"asleep\""] {
        let run = output(quickstart(folder.path(), &["--once", "--prompt", prompt]))?;
        let told = String::from_utf8(run.stdout)?;
        let errors = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(0), "{told}{errors}");
        let shown = shown(&told)?;
        assert!(shown.path.is_absolute(), "{shown:?}");
        let images = folder.path().canonicalize()?.join("images");
        assert!(shown.path.starts_with(images), "{shown:?}");
        assert!(shown.made.starts_with("forge-sim with "), "{shown:?}");
        let text = infotext(&shown.path)?;
        assert!(text.starts_with(&format!("{prompt}\n")), "{text}");
        assert!(text.contains(&format!("Seed: {},", shown.seed)), "{text}");
        assert!(text.contains("Size: 128x64"), "{text}");
        // Without a terminal, what happens is told in lines, and not as a result.
        assert!(errors.contains("generating on forge-sim"), "{errors}");
        assert!(!told.contains("generating"), "{told}");
        seeds.push(shown.seed);
    }
    assert_ne!(seeds[0], seeds[1], "the seed is drawn for each run");
    Ok(())
}

#[test]
fn it_stays_up_and_a_second_one_on_its_folder_is_told_who_has_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let first = Staying::start(quickstart(folder.path(), &[]))?;
    let told = first.read_to("Ctrl-C")?.join("\n");
    let path = shown(&told)?.path;
    assert!(infotext(&path)?.starts_with("a lighthouse"), "{told}");
    for method in [
        "JobService/GetJob",
        "JobService/SubmitJob",
        "JobService/WatchJob",
        "ServerService/ListServers",
        "AvailabilityService/CheckAvailability",
        "Health/Check",
    ] {
        assert!(told.contains(method), "{method}: {told}");
    }
    let second = output(quickstart(folder.path(), &["--once"]))?;
    let errors = String::from_utf8_lossy(&second.stderr);
    assert_eq!(
        second.status.code(),
        Some(Exit::Locked.code().into()),
        "{errors}"
    );
    let holder = format!("(process {})", first.id());
    assert!(errors.contains(&holder), "{errors}");
    assert_eq!(first.interrupt()?, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_is_registered_once_and_followed_to_a_new_address() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for prompt in ["first address", "second address"] {
        let forge_folder = tempfile::tempdir()?;
        let forge = ForgeSim::start(SimConfig::instant(forge_folder.path())).await?;
        let url = format!("{}/", forge.url());
        let command = quickstart(
            folder.path(),
            &["--once", "--prompt", prompt, "--forge", &url],
        );
        let run = tokio::task::spawn_blocking(move || output(command)).await??;
        let told = String::from_utf8(run.stdout)?;
        let errors = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(0), "{told}{errors}");
        let shown = shown(&told)?;
        assert!(shown.made.starts_with("forge with "), "{shown:?}");
        let text = infotext(&shown.path)?;
        assert!(text.starts_with(prompt), "{text}");
        assert_eq!(forge.log().len(), 1);
        forge.stop().await;
    }
    Ok(())
}
