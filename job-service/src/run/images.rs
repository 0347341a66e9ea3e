//! The images of a service that is stopped.

use std::path::Path;

use service_kit::{
    clock::Clock,
    database::{Database, DatabaseOptions},
};

use super::{StartError, locked_and_migrated};
use crate::{
    config::{self, IMAGES_FOLDER},
    images::ImageStore,
};

/// The database, to be closed at the end, and the folder of images.
///
/// # Errors
/// [`StartError`], as when the service runs.
pub(crate) async fn open_images(
    data_dir: &Path,
    clock: &Clock,
) -> Result<(Database, ImageStore), StartError> {
    let (data_dir, clock) = (data_dir.to_owned(), clock.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let path = config::database(&data_dir);
        let lock = locked_and_migrated(&path, &clock)?;
        let images = ImageStore::open(&data_dir.join(IMAGES_FOLDER))?;
        let database = Database::open(&path, lock, DatabaseOptions::default())?;
        Ok::<_, StartError>((database, images))
    });
    opened.await.map_err(|_| StartError::Panicked)?
}
