//! One run of the program: starts it, waits on what it says, ends it. Knows
//! nothing of jobs.

use std::{
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use tokio::sync::watch;

/// How long a test waits for what must come; far above what it takes.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// What a run has said so far, and how it ended.
#[derive(Clone, Debug, Default)]
struct Seen {
    lines: Vec<String>,
    pipes_closed: usize,
}

/// The pipes of a program: what it says and what it logs.
const PIPES: usize = 2;

/// A running program. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    seen: watch::Receiver<Seen>,
}

/// The program with these arguments, to be run in the foreground.
pub(crate) fn command(arguments: &[&str], data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_job-service"));
    command.args(arguments).arg("--data-dir").arg(data_dir);
    command
}

/// What the program says of the health of a service that listens there.
pub(crate) fn healthcheck(address: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_job-service"));
    command.args(["healthcheck", "--address", address]);
    command.output().unwrap()
}

impl Program {
    /// Starts a program.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, seen) = watch::channel(Seen::default());
        read(child.stdout.take().unwrap(), sender.clone());
        read(child.stderr.take().unwrap(), sender);
        Self { child, seen }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with these words and answers it.
    pub(crate) async fn says(&self, words: &str) -> String {
        let mut seen = self.seen.clone();
        let line = |seen: &Seen| seen.lines.iter().find(|line| line.contains(words)).cloned();
        let said = seen.wait_for(|seen| line(seen).is_some() || seen.pipes_closed == PIPES);
        let found = match tokio::time::timeout(BOUND, said).await {
            Ok(Ok(seen)) => line(&seen),
            _ => None,
        };
        found.unwrap_or_else(|| panic!("{words:?} was not said:\n{}", self.said()))
    }

    /// Waits until calls get through and answers where.
    pub(crate) async fn serves(&self) -> SocketAddr {
        let line = self.says("\"serving\"").await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }

    /// Lets it run for a time; it must not end by itself meanwhile.
    pub(crate) async fn runs_for(&mut self, time: Duration) {
        let mut seen = self.seen.clone();
        let ended = seen.wait_for(|seen| seen.pipes_closed == PIPES);
        let ended = tokio::time::timeout(time, ended).await.is_ok();
        assert!(!ended, "it ended by itself:\n{}", self.said());
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let mut seen = self.seen.clone();
        let ended = seen.wait_for(|seen| seen.pipes_closed == PIPES);
        let ended = tokio::time::timeout(BOUND, ended).await.is_ok();
        assert!(ended, "it did not end:\n{}", self.said());
        self.child.wait().unwrap()
    }

    /// Ends it as SIGKILL does and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Everything it has said.
    pub(crate) fn said(&self) -> String {
        self.seen.borrow().lines.join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a pipe to its end, on a thread of its own since pipes block.
fn read(pipe: impl Read + Send + 'static, sender: watch::Sender<Seen>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            sender.send_modify(|seen| seen.lines.push(line));
        }
        sender.send_modify(|seen| seen.pipes_closed += 1);
    });
}
