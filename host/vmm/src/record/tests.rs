use super::*;

fn manifest(id: &str) -> Manifest {
    serde_json::from_value(serde_json::json!({
        "id": id, "name": "n", "app_id": "a", "vcpu": 1, "memory": 512, "disk_size": 1,
        "image": "i", "created_at_ms": 1,
    }))
    .unwrap()
}

fn create(run_path: &Path, id: &str) -> WorkDir {
    let files = [(shared::APP_COMPOSE, b"old".to_vec())];
    WorkDir::create(run_path, State::STARTED, &manifest(id), &files).unwrap()
}

#[test]
fn a_record_appears_whole_and_once() {
    let run = tempfile::tempdir().unwrap();
    let dir = create(run.path(), "a");
    assert_eq!(dir.manifest().unwrap(), manifest("a"));
    assert!(dir.state().unwrap().started);
    let again = WorkDir::create(run.path(), State::STOPPED, &manifest("a"), &[]);
    assert!(again.is_err());
    assert!(dir.state().unwrap().started, "the first one is untouched");
    assert_eq!(WorkDir::list(run.path()).unwrap(), [dir]);
}

#[test]
fn half_a_creation_and_half_a_removal_leave_nothing() {
    let run = tempfile::tempdir().unwrap();
    create(run.path(), "a");
    for left in [".creating-b", ".removed-c"] {
        std::fs::rename(create(run.path(), "x").path(), run.path().join(left)).unwrap();
    }
    assert_eq!(WorkDir::list(run.path()).unwrap().len(), 1);
    WorkDir::clean(run.path()).unwrap();
    assert_eq!(WorkDir::list(run.path()).unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(run.path()).unwrap().count(), 1);
}

#[test]
fn an_update_is_finished_or_did_not_happen() {
    let run = tempfile::tempdir().unwrap();
    let dir = create(run.path(), "a");
    let mut changed = manifest("a");
    changed.vcpu = 7;
    let change = Change {
        manifest: Some(changed.clone()),
        shared: vec![(shared::APP_COMPOSE, b"new".to_vec())],
    };
    // Cut before the rename: nothing happened.
    let staged = WorkDir::at(dir.file(REDO_TMP));
    std::fs::create_dir(staged.path()).unwrap();
    staged.write(MANIFEST, &changed).unwrap();
    assert_eq!(dir.manifest().unwrap().vcpu, 1);
    assert!(!staged.path().exists());
    // Cut after the rename and after one of two moves: it is finished.
    dir.apply(&change).unwrap();
    assert_eq!(dir.manifest().unwrap().vcpu, 7);
    std::fs::create_dir(dir.file(REDO)).unwrap();
    write_private(&dir.file(REDO).join(shared::APP_COMPOSE), b"newer").unwrap();
    assert_eq!(dir.manifest().unwrap().vcpu, 7);
    let compose = dir.read_shared(shared::APP_COMPOSE).unwrap();
    assert_eq!(compose.as_deref(), Some(&b"newer"[..]));
    assert!(!dir.file(REDO).exists());
}

#[test]
fn removal_is_remembered() {
    let run = tempfile::tempdir().unwrap();
    let dir = create(run.path(), "a");
    assert!(!dir.is_removing());
    dir.begin_removal().unwrap();
    assert!(dir.is_removing());
    dir.remove().unwrap();
    assert_eq!(std::fs::read_dir(run.path()).unwrap().count(), 0);
}

#[test]
fn a_manifest_in_anothers_place_is_refused() {
    let run = tempfile::tempdir().unwrap();
    let dir = create(run.path(), "a");
    let other = run.path().join("b");
    std::fs::rename(dir.path(), &other).unwrap();
    let error = WorkDir::at(other).manifest().unwrap_err().to_string();
    assert!(error.contains("not the directory's"), "{error}");
}

#[test]
fn what_guests_say_about_themselves_has_a_form() {
    let valid =
        |json: &str| serde_json::from_str::<InstanceInfo>(json).is_ok_and(|info| info.is_valid());
    let id = "ab".repeat(20);
    assert!(valid(&format!(
        r#"{{"app_id":"{id}","instance_id":"{id}"}}"#
    )));
    assert!(!valid(&format!(r#"{{"app_id":"{id}","instance_id":"x"}}"#)));
    assert!(!valid(r#"{"app_id":""}"#));
    assert!(!valid(&format!(r#"{{"app_id":"{id}","extra":1}}"#)));
}
