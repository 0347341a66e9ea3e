//! The `unneeded_files` table: files that deleted jobs and earlier runs have
//! left and that are still to be looked at. Removing them is `jobs::delete`'s
//! work.

use diesel::prelude::*;

use super::schema::unneeded_files;
use crate::{error::Error, images::ImageFile, job::Image};

/// Adds the files of images whose rows go.
pub fn add(conn: &mut SqliteConnection, images: &[Image]) -> Result<(), Error> {
    for image in images {
        diesel::insert_into(unneeded_files::table)
            .values((
                unneeded_files::sha256.eq(&image.sha256),
                unneeded_files::media_type.eq(&image.media_type),
            ))
            .on_conflict_do_nothing()
            .execute(conn)?;
    }
    Ok(())
}

/// The first files, at most `limit`.
pub fn first(conn: &mut SqliteConnection, limit: i64) -> Result<Vec<ImageFile>, Error> {
    let rows: Vec<(String, String)> = unneeded_files::table
        .order((unneeded_files::sha256, unneeded_files::media_type))
        .limit(limit)
        .load(conn)?;
    let file = |(sha256, media_type)| ImageFile { sha256, media_type };
    Ok(rows.into_iter().map(file).collect())
}

/// Takes files off that were looked at.
pub fn take_off(conn: &mut SqliteConnection, files: &[ImageFile]) -> Result<(), Error> {
    for file in files {
        let row = unneeded_files::table.find((&file.sha256, &file.media_type));
        diesel::delete(row).execute(conn)?;
    }
    Ok(())
}
