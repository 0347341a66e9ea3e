//! What a simulated server consists of: the part that outlives its process (`World`) and the memory of one
//! process (`Engine`), which a kill throws away.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::Sessions,
    config::{SimConfig, SimModel},
    door::Door,
    gate::Gate,
    generate::Job,
    hash_cache,
    log::Log,
    models::{Models, listing_order},
    options::Options,
    progress::Progress,
    rules::Rules,
    stage::Stage,
    tasks::TaskMemory,
};

/// AnyIO's worker threads: each synchronous request in flight holds one (forge/forge-api.md, section 2).
pub(crate) const WORKER_THREADS: usize = 40;

/// Files of the simulated machine.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) checkpoints: Vec<SimModel>,
    pub(crate) loras: Vec<SimModel>,
    pub(crate) modules: Vec<SimModel>,
    /// The hash cache on disk, by relative path.
    pub(crate) hash_cache: HashMap<String, String>,
}

/// Everything a restart keeps.
pub(crate) struct World {
    pub(crate) config: SimConfig,
    pub(crate) disk: Mutex<Disk>,
    pub(crate) gate: Gate,
    pub(crate) rules: Rules,
    pub(crate) door: Door,
    pub(crate) log: Log,
}

/// What one process remembers.
pub(crate) struct Memory {
    pub(crate) progress: Progress,
    pub(crate) tasks: TaskMemory,
    pub(crate) options: Options,
    pub(crate) models: Models,
    /// The generation that has the queue lock.
    pub(crate) running: Option<Running>,
}

/// What an interrupt meets.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) number: u64,
    pub(crate) task_id: String,
    pub(crate) stage: Stage,
}

/// One process of the simulated server.
pub(crate) struct Engine {
    pub(crate) world: Arc<World>,
    pub(crate) app_id: u64,
    pub(crate) memory: Mutex<Memory>,
    pub(crate) sessions: Sessions,
    /// The queue lock: one worker takes jobs in order of arrival.
    pub(crate) queue: mpsc::Sender<Queued>,
    pub(crate) threads: Arc<Semaphore>,
    /// Worker threads that foreign requests hold.
    pub(crate) occupied: Mutex<Vec<OwnedSemaphorePermit>>,
    /// Wakes gated work when an interrupt or skip arrives.
    pub(crate) stop_signal: Notify,
    /// Cancelled when the process dies.
    pub(crate) dead: CancellationToken,
}

/// What waits for the queue lock.
pub(crate) enum Queued {
    Generate(Box<Job>),
    RefreshCheckpoints(tokio::sync::oneshot::Sender<()>),
}

/// Locks; a panic of another holder does not spread.
pub(crate) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(config: SimConfig) -> anyhow::Result<Self> {
        let log = Log::open(config.log_file.as_deref(), config.event_file.as_deref())?;
        let mut hash_cache = hash_cache::read(&config);
        if config.hashes_cached {
            let hashes = config
                .checkpoints
                .iter()
                .map(|model| (model.relative_path.clone(), model.believed_sha256()));
            hash_cache.extend(hashes);
        }
        let disk = Disk {
            checkpoints: config.checkpoints.clone(),
            loras: config.loras.clone(),
            modules: config.modules.clone(),
            hash_cache,
        };
        Ok(Self {
            gate: Gate::new(config.gated),
            disk: Mutex::new(disk),
            rules: Rules::starting_with(&config.rules),
            door: Door::new(config.flap),
            log,
            config,
        })
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.config.data_dir.join("config.json")
    }

    /// Name lists as a start or a refresh finds them.
    pub(crate) fn listed(&self) -> Models {
        let mut disk = hold(&self.disk);
        for model in self.config.found_in_folder() {
            let path = &model.relative_path;
            disk.checkpoints
                .retain(|known| known.relative_path != *path);
            disk.checkpoints.push(model);
        }
        let mut models = Models {
            data_dir: self.config.data_dir.clone(),
            checkpoints: disk.checkpoints.clone(),
            loras: disk.loras.clone(),
            modules: disk.modules.clone(),
            known_hashes: disk.hash_cache.clone(),
            ..Models::default()
        };
        for list in [
            &mut models.checkpoints,
            &mut models.loras,
            &mut models.modules,
        ] {
            listing_order(list);
        }
        models
    }
}

impl Engine {
    pub(crate) fn new(
        world: Arc<World>,
        app_id: u64,
        queue: mpsc::Sender<Queued>,
    ) -> anyhow::Result<Self> {
        let models = world.listed();
        let first = models
            .checkpoints
            .first()
            .map(|model| models.title(model))
            .unwrap_or_default();
        let checkpoint = world.config.loaded.clone().unwrap_or(first);
        let options = Options::boot(
            &world.config_file(),
            &world.config.saved_options,
            &checkpoint,
        )?;
        let memory = Memory {
            progress: Progress::default(),
            tasks: TaskMemory::default(),
            options,
            models,
            running: None,
        };
        Ok(Self {
            world,
            app_id,
            memory: Mutex::new(memory),
            sessions: Sessions::new(),
            queue,
            threads: Arc::new(Semaphore::new(WORKER_THREADS)),
            occupied: Mutex::default(),
            stop_signal: Notify::new(),
            dead: CancellationToken::new(),
        })
    }

    /// The process dies here; the caller never goes on.
    pub(crate) async fn die(&self) {
        self.dead.cancel();
        std::future::pending().await
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        hold(&self.memory)
    }

    /// Looks at the disk again, as `refresh-checkpoints` does; modules come with it.
    pub(crate) fn refresh_checkpoints(&self) {
        let found = self.world.listed();
        let mut memory = self.memory();
        memory.models.checkpoints = found.checkpoints;
        memory.models.modules = found.modules;
        memory.models.known_hashes.extend(found.known_hashes);
    }

    pub(crate) fn refresh_loras(&self) {
        let found = self.world.listed();
        self.memory().models.loras = found.loras;
    }

    pub(crate) fn refresh_modules(&self) {
        let found = self.world.listed();
        self.memory().models.modules = found.modules;
    }
}
