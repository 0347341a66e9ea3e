use super::*;

fn png(side: u32, shade: u8) -> Vec<u8> {
    let pixels = image::RgbImage::from_pixel(side, side, image::Rgb([shade, 2, 3]));
    let mut bytes = io::Cursor::new(Vec::new());
    pixels
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

fn files_below(dir: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        count += if path.is_dir() { files_below(&path) } else { 1 };
    }
    count
}

#[test]
fn two_stores_of_one_folder_never_write_to_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let [stopped, started] = [(), ()].map(|()| ImageStore::open(dir.path()).unwrap());
    let paths = [&stopped, &started, &stopped, &started].map(|store| store.staging_path("answer"));
    let different: std::collections::HashSet<_> = paths.iter().collect();
    assert_eq!(different.len(), paths.len(), "{paths:?}");
}

#[test]
fn an_image_lies_under_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let bytes = png(64, 1);
    let stored = store.put(&store.stage(&bytes).unwrap()).unwrap();
    assert_eq!((stored.width, stored.height), (64, 64));
    assert_eq!(stored.size_bytes, bytes.len() as u64);
    assert_eq!(stored.sha256, hex::encode(Sha256::digest(&bytes)));
    let path = dir
        .path()
        .join(&stored.sha256[..2])
        .join(format!("{}.png", stored.sha256));
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert_eq!(files_below(dir.path()), 1);
}

#[test]
fn an_image_that_found_no_room_for_its_name_can_be_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let bytes = png(8, 1);
    let staged = store.stage(&bytes).unwrap();
    let folder = dir.path().join(&staged.sha256[..2]);
    fs::write(&folder, "").unwrap();
    let error = store.put(&staged).unwrap_err();
    assert!(matches!(error, ImageError::Io(_)), "{error}");
    fs::remove_file(&folder).unwrap();
    let stored = store.put(&staged).unwrap();
    drop(staged);
    let path = store.path(&stored.sha256, stored.media_type);
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert_eq!(files_below(dir.path()), 1);
}

#[test]
fn an_equal_image_is_kept_once_and_a_torn_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let bytes = png(8, 1);
    let first = store.put(&store.stage(&bytes).unwrap()).unwrap();
    let path = store.path(&first.sha256, first.media_type);
    assert_eq!(store.put(&store.stage(&bytes).unwrap()).unwrap(), first);
    fs::write(&path, &bytes[..10]).unwrap();
    store.put(&store.stage(&bytes).unwrap()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(files_below(dir.path()), 1);
}

#[test]
fn a_staged_image_that_is_not_put_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    drop(store.stage(&png(8, 1)).unwrap());
    assert_eq!(files_below(dir.path()), 0);
}

#[test]
fn opening_sweeps_what_an_earlier_process_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let kept = store.put(&store.stage(&png(8, 1)).unwrap()).unwrap();
    fs::write(store.staging_path("json"), b"half an answer").unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    assert_eq!(files_below(dir.path()), 1);
    assert!(store.path(&kept.sha256, kept.media_type).is_file());
}

#[test]
fn a_cut_or_changed_picture_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let bytes = png(64, 1);
    for length in [
        0,
        7,
        20,
        40,
        bytes.len() / 2,
        bytes.len() - 13,
        bytes.len() - 1,
    ] {
        let staged = store.stage(&bytes[..length]);
        assert!(
            matches!(staged, Err(ImageError::Broken(_))),
            "{length}: {staged:?}"
        );
    }
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 0xff;
    assert!(matches!(store.stage(&changed), Err(ImageError::Broken(_))));
    assert_eq!(files_below(dir.path()), 0);
}

#[test]
fn a_picture_is_measured_before_its_pixels_are_decoded() {
    // A header that claims 100,000 x 100,000 pixels, with nothing behind it.
    let mut bytes = png(8, 1);
    bytes[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&100_000_u32.to_be_bytes());
    let mut digest = crc32(&bytes[12..29]);
    bytes[29..33].swap_with_slice(&mut digest);
    let fault = inspect(&bytes).unwrap_err();
    assert!(fault.contains("100000 x 100000"), "{fault}");
}

/// The checksum of a PNG chunk.
fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    (!crc).to_be_bytes()
}

#[test]
fn an_image_is_read_from_any_offset() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let bytes = png(64, 9);
    let stored = store.put(&store.stage(&bytes).unwrap()).unwrap();
    let read = |offset, most| {
        store
            .read(&stored.sha256, stored.media_type, offset, most)
            .unwrap()
    };
    assert_eq!(read(0, 10), bytes[..10]);
    assert_eq!(read(10, bytes.len()), bytes[10..]);
    assert_eq!(read(bytes.len() as u64, 10), b"");
    let missing = store.read(&"0".repeat(64), "image/png", 0, 1);
    assert!(matches!(missing, Err(ImageError::Missing(_))));
}

#[test]
fn other_formats_keep_their_type() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let mut jpeg = io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8)
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .unwrap();
    let stored = store.put(&store.stage(jpeg.get_ref()).unwrap()).unwrap();
    assert_eq!(stored.media_type, "image/jpeg");
    assert!(store.path(&stored.sha256, stored.media_type).is_file());
}

#[test]
fn a_full_disk_is_told_apart() {
    let full = io::Error::from(io::ErrorKind::StorageFull);
    assert!(matches!(ImageError::from(full), ImageError::DiskFull(_)));
    let other = io::Error::from(io::ErrorKind::PermissionDenied);
    assert!(matches!(ImageError::from(other), ImageError::Io(_)));
}

fn store() -> (tempfile::TempDir, ImageStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    (dir, store)
}

/// Whether a file of this store is kept when no row names it.
fn is_kept(store: &ImageStore, stored: &StoredImage) -> bool {
    let file = ImageFile {
        sha256: stored.sha256.clone(),
        media_type: stored.media_type.to_owned(),
    };
    let gone = store
        .remove_unused(&[file], |_| Ok::<_, ImageError>(false))
        .unwrap();
    let kept = store.path(&stored.sha256, stored.media_type).is_file();
    assert_eq!(gone == 1, !kept);
    kept
}

#[test]
fn a_file_is_kept_while_anybody_holds_its_pin() {
    let (_folder, store) = store();
    let first = store.put(&store.stage(&png(8, 1)).unwrap()).unwrap();
    let second = store.put(&store.stage(&png(8, 1)).unwrap()).unwrap();
    assert!(is_kept(&store, &first));
    let pin = Arc::clone(&second.pin);
    let other = store.put(&store.stage(&png(8, 2)).unwrap()).unwrap();
    drop(first);
    drop(second.clone());
    assert!(is_kept(&store, &second));
    let plain = StoredImage {
        pin: Arc::clone(&other.pin),
        ..second
    };
    drop(second.pin);
    assert!(is_kept(&store, &plain), "one pin is held");
    drop(pin);
    assert!(!is_kept(&store, &plain));
    assert!(is_kept(&store, &other));
}

#[test]
fn a_fault_of_an_older_picture_is_told_from_one_of_our_folder() {
    let (folder, store) = store();
    let older = tempfile::tempdir().unwrap();
    let picture = older.path().join("a.png");
    fs::write(&picture, png(8, 1)).unwrap();
    store.stage_link(&picture).unwrap();
    let gone = older.path().join("gone.png");
    for unreadable in [gone.as_path(), older.path()] {
        let fault = store.stage_link(unreadable).unwrap_err();
        assert!(matches!(fault, LinkError::Source { .. }), "{fault}");
        let name = unreadable.display().to_string();
        assert!(fault.to_string().contains(&name), "{fault}");
    }
    fs::remove_dir_all(folder.path().join(STAGING_FOLDER)).unwrap();
    let fault = store.stage_link(&picture).unwrap_err();
    assert!(
        matches!(fault, LinkError::Store(ImageError::Io(_))),
        "{fault}"
    );
}
