//! Runs the program with a bound and reads what it says. Judges nothing.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// Far above what a run takes.
const BOUND: Duration = Duration::from_secs(120);

/// The program with small settings on a data folder.
pub(crate) fn quickstart(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command
        .args(["--steps", "3", "--width", "128", "--height", "64"])
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end; one that does not end is killed.
pub(crate) fn output(mut command: Command) -> Result<Output> {
    let mut child = command.spawn()?;
    let id = child.id();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (ended, wait) = mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        if wait.recv_timeout(BOUND) == Err(mpsc::RecvTimeoutError::Timeout) {
            kill("-KILL", id)
        } else {
            Ok(())
        }
    });
    let errors = thread::spawn(move || read_all(stderr));
    let stdout = read_all(stdout)?;
    let stderr = errors.join().ok().context("the reader panicked")??;
    let status = child.wait()?;
    drop(ended);
    guard.join().ok().context("the guard panicked")??;
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn read_all(pipe: Option<impl std::io::Read>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.context("no pipe")?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Sends a signal to a process.
pub(crate) fn kill(signal: &str, id: u32) -> Result<()> {
    let status = Command::new("kill")
        .args([signal, &id.to_string()])
        .status()?;
    if !status.success() {
        bail!("kill {signal} {id} ended with {status}");
    }
    Ok(())
}

/// A program that stays up; killed when dropped.
pub(crate) struct Staying {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Staying {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stderr(Stdio::inherit()).spawn()?;
        let stdout = child.stdout.take().context("no pipe")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads up to a line that has this in it; answers all lines read.
    pub(crate) fn read_to(&self, wanted: &str) -> Result<Vec<String>> {
        let mut read = Vec::new();
        loop {
            let line = self
                .lines
                .recv_timeout(BOUND)
                .with_context(|| format!("no {wanted:?} in {read:#?}"))?;
            let found = line.contains(wanted);
            read.push(line);
            if found {
                return Ok(read);
            }
        }
    }

    /// Ends it as Ctrl-C does and answers its exit code.
    pub(crate) fn interrupt(mut self) -> Result<Option<i32>> {
        kill("-INT", self.child.id())?;
        // Its standard output closes when it ends.
        while self.lines.recv_timeout(BOUND).is_ok() {}
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run says of its image.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its seed.
    pub(crate) seed: String,
    /// The server that made it.
    pub(crate) made: String,
}

/// Reads the lines about the image.
pub(crate) fn shown(text: &str) -> Result<Shown> {
    let after = |mark: &str| {
        text.lines()
            .find_map(|line| Some(line.split_once(mark)?.1.to_owned()))
            .with_context(|| format!("no {mark:?} in {text}"))
    };
    Ok(Shown {
        path: after("image: ")?.into(),
        seed: after(", seed ")?,
        made: after("made on ")?,
    })
}

/// The infotext that a PNG carries in its `parameters` chunk.
pub(crate) fn infotext(path: &Path) -> Result<String> {
    let file = BufReader::new(File::open(path)?);
    let reader = png::Decoder::new(file).read_info()?;
    let info = reader.info();
    let latin = info.uncompressed_latin1_text.iter();
    let latin = latin.map(|chunk| (&chunk.keyword, chunk.text.clone()));
    let other = info.utf8_text.iter();
    let other = other.map(|chunk| (&chunk.keyword, chunk.get_text().unwrap_or_default()));
    latin
        .chain(other)
        .find_map(|(keyword, text)| (keyword == "parameters").then_some(text))
        .context("the PNG has no parameters")
}
