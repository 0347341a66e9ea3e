use std::os::unix::fs::PermissionsExt as _;

use super::*;

const URL: &str = "http://10.0.0.5:7860";

fn login(password: &str) -> ServerLogin {
    ServerLogin::parse("somebody".to_owned(), password.to_owned()).unwrap()
}

fn opened(vault: &Vault, sealed: &Sealed) -> Result<ServerLogin, LoginLost> {
    vault.unseal(LoginKind::Api, "gpu", URL, sealed)
}

fn sealed(vault: &Vault, password: &str) -> Sealed {
    let login = login(password);
    vault.seal(LoginKind::Api, "gpu", URL, &login).unwrap()
}

#[test]
fn the_key_is_made_with_the_first_login_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(KEY_FILE);
    let vault = Vault::open(folder.path(), None).unwrap();
    assert!(!file.exists(), "no login, no key");
    let first = sealed(&vault, "hunter2:x");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = fs::read(&file).unwrap();
    let second = sealed(&vault, "another");
    assert_eq!(fs::read(&file).unwrap(), kept);
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [KEY_FILE], "nothing else is left");

    let again = Vault::open(folder.path(), None).unwrap();
    assert_eq!(opened(&again, &first).unwrap(), login("hunter2:x"));
    assert_eq!(opened(&again, &second).unwrap(), login("another"));
}

#[test]
fn a_configured_key_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let key = SealingKey::generate().unwrap();
    let vault = Vault::open(folder.path(), Some(key.clone())).unwrap();
    let sealed = sealed(&vault, "hunter2");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let again = Vault::open(folder.path(), Some(key)).unwrap();
    assert_eq!(opened(&again, &sealed).unwrap(), login("hunter2"));
}

#[test]
fn a_lost_key_is_told_with_what_helps_and_a_new_login_can_be_stored() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), None).unwrap();
    let old = sealed(&vault, "hunter2");
    fs::remove_file(folder.path().join(KEY_FILE)).unwrap();
    let vault = Vault::open(folder.path(), None).unwrap();
    for _ in 0..2 {
        let lost = opened(&vault, &old).unwrap_err().to_string();
        for part in ["api_login", KEY_FILE, "UpdateServer", "restore the key"] {
            assert!(lost.contains(part), "{part}: {lost}");
        }
        // With another key the old one stays lost.
        let new = sealed(&vault, "again");
        assert_eq!(opened(&vault, &new).unwrap(), login("again"));
    }
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    sealed(&Vault::open(folder.path(), None).unwrap(), "hunter2");
    let file = folder.path().join(KEY_FILE);
    for mode in [0o640, 0o604, 0o666] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let fault = Vault::open(folder.path(), None).unwrap_err().to_string();
        assert!(fault.contains("chmod 600"), "{fault}");
        assert!(fault.contains(&format!("{mode:04o}")), "{fault}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(Vault::open(folder.path(), None).is_ok());
}

#[test]
fn a_file_without_a_key_is_told_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), None).unwrap();
    let file = folder.path().join(KEY_FILE);
    fs::write(&file, "not a key").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let fault = Vault::open(folder.path(), None).unwrap_err();
    assert!(matches!(fault, VaultFault::NotAKey { .. }), "{fault}");
    assert!(!fault.to_string().contains("not a key"), "{fault}");
    // It came to be there after the start.
    let login = login("hunter2");
    let fault = vault.seal(LoginKind::Ui, "gpu", URL, &login).unwrap_err();
    assert!(matches!(fault, VaultFault::NotAKey { .. }), "{fault}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a key");
    assert!(write(&file, &SealingKey::generate().unwrap()).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a key");
}
