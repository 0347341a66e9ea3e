//! What a test does to the server while it runs: faults by rule, frozen or refusing, bad files, taken threads. The
//! life of the process and its logs are `sim`.

use std::time::Duration;

use crate::{
    door::Flap,
    events::{Event, Interruption, What},
    faults::Fault,
    models::LoadKey,
    rules::{Rule, Target},
    sim::ForgeSim,
    state::hold,
};

impl ForgeSim {
    /// Queues a fault for the next generation request, or for the next listing if it is a listing fault.
    pub fn script(&self, fault: Fault) {
        self.script_rule(Rule::once(fault));
    }

    /// Queues a fault for the next request that `target` matches. Faults on generation requests that need a
    /// generation (wrong model, kill, empty images and the like) do nothing on other targets.
    pub fn script_on(&self, target: Target, fault: Fault) {
        self.script_rule(Rule {
            target: Some(target),
            ..Rule::once(fault)
        });
    }

    /// Queues a fault for the requests that the rule names. A request meets one rule, the oldest it matches.
    pub fn script_rule(&self, rule: Rule) {
        self.world.rules.push(rule);
    }

    /// Number of plays of scripted faults still to come; rules for always are not counted.
    pub fn faults_left(&self) -> usize {
        self.world.rules.left()
    }

    /// Drops all scripted faults, those for always too.
    pub fn clear_faults(&self) {
        self.world.rules.clear();
    }

    /// Stops the process as SIGSTOP does: connects succeed, nothing is answered, sampling stands still.
    pub fn freeze(&self) {
        self.world.gate.set_frozen(true);
        self.note(What::Frozen);
    }

    /// Lets a frozen process go on where it was, as SIGCONT does.
    pub fn thaw(&self) {
        self.world.gate.set_frozen(false);
        self.note(What::Thawed);
    }

    /// From now on requests to these paths are accepted and not answered, those under way neither, until
    /// [`ForgeSim::release`]. The rest of the server works on; held requests take no worker thread.
    pub fn hold(&self, target: Target) {
        self.world.door.hold(target);
    }

    /// Ends the hold on exactly this target.
    pub fn release(&self, target: &Target) {
        self.world.door.release(target);
    }

    /// Lets so many requests by that the hold on exactly this target holds, or will hold.
    pub fn let_by(&self, target: &Target, count: u64) {
        self.world.door.let_by(target, count);
    }

    /// The port refuses connections from now on and open connections take no further request, while the process
    /// lives on and answers what it has. Returns when that is so.
    pub async fn refuse(&self) {
        self.world.door.close();
        self.door_settled().await;
    }

    /// The port listens again.
    pub async fn accept(&self) {
        self.world.door.open(None);
        self.door_settled().await;
    }

    /// The port listens for so many requests (on any connection) and refuses again after them; 0 refuses.
    pub async fn accept_for(&self, requests: u64) {
        self.world.door.open(Some(requests));
        self.door_settled().await;
    }

    /// Waits until the port refuses, as after the requests of [`ForgeSim::accept_for`].
    ///
    /// # Errors
    /// If that does not happen within `bound`.
    pub async fn wait_until_refusing(&self, bound: Duration) -> anyhow::Result<()> {
        let refusing = async {
            self.world.door.wanted(false).await;
            self.world.door.settled().await;
        };
        tokio::time::timeout(bound, refusing)
            .await
            .map_err(|_| anyhow::anyhow!("the port still listens after {bound:?}"))
    }

    /// Lets the server come and go by counts, or ends that with `None`. A reset is not a refusal: the connect
    /// succeeds, and then the connection is reset; nothing runs.
    pub fn flap(&self, flap: Option<Flap>) {
        self.world.door.flap(flap);
    }

    async fn door_settled(&self) {
        tokio::select! {
            () = self.process.engine.dead.cancelled() => {}
            () = self.world.door.settled() => {}
        }
    }

    /// Other clients' requests hold up to `count` of the forty worker threads until [`ForgeSim::free_threads`];
    /// gives how many were free to be taken. With all of them taken every synchronous route waits.
    pub fn occupy_threads(&self, count: usize) -> usize {
        let engine = &self.process.engine;
        let mut taken = 0;
        while taken < count
            && let Ok(thread) = std::sync::Arc::clone(&engine.threads).try_acquire_owned()
        {
            hold(&engine.occupied).push(thread);
            taken += 1;
        }
        taken
    }

    /// Gives the threads of [`ForgeSim::occupy_threads`] back.
    pub fn free_threads(&self) {
        hold(&self.process.engine.occupied).clear();
    }

    /// The checkpoint file cannot be loaded from now on; each load poisons the server. One in memory stays usable.
    pub fn break_checkpoint(&self, relative_path: &str) {
        self.set_loadable(relative_path, false);
    }

    /// The checkpoint file can be loaded again.
    pub fn mend_checkpoint(&self, relative_path: &str) {
        self.set_loadable(relative_path, true);
    }

    fn set_loadable(&self, relative_path: &str, loadable: bool) {
        let mut disk = self.disk();
        let found = disk.checkpoints.iter_mut();
        found
            .filter(|model| model.relative_path == relative_path)
            .for_each(|model| model.loadable = loadable);
    }

    /// Leaves the state that a failed load leaves: jobs for the checkpoint that was loaded (the selected one, if
    /// none was) answer 500 until another one is loaded.
    pub fn poison(&self) {
        let mut memory = self.process.engine.memory();
        let option = memory.options.text("sd_model_checkpoint");
        let key = memory.models.selected(&option).map(|model| LoadKey {
            checkpoint: model.relative_path.clone(),
            modules: memory.options.modules(),
            storage: memory.options.text("forge_unet_storage_dtype"),
        });
        let slot = &mut memory.models.slot;
        slot.key = slot.key.take().or(key);
        slot.model = None;
    }

    /// True if the checkpoint loaded last is gone from memory while Forge still takes it for loaded; so it is during
    /// a load too.
    pub fn is_poisoned(&self) -> bool {
        let memory = self.process.engine.memory();
        let slot = &memory.models.slot;
        slot.model.is_none() && slot.key.is_some()
    }

    /// What happened so far, in one sequence (the newest [`crate::EVENT_LOG_LIMIT`]).
    pub fn events(&self) -> Vec<Event> {
        self.world.log.events.all()
    }

    /// Waits until `what` holds for the events.
    ///
    /// # Errors
    /// If that does not happen within `bound`; the text shows the last events.
    pub async fn wait_for_events(
        &self,
        what: impl Fn(&[Event]) -> bool,
        bound: Duration,
    ) -> anyhow::Result<()> {
        self.world.log.events.wait(what, bound).await
    }

    /// The interrupts and skips among the events, each with whom it met.
    pub fn interrupts(&self) -> Vec<Interruption> {
        let interruption = |event: Event| match event.what {
            What::Interrupted(interruption) => Some(interruption),
            _ => None,
        };
        self.events().into_iter().filter_map(interruption).collect()
    }

    fn note(&self, what: What) {
        self.world.log.events.push(self.app_id(), what);
    }
}
