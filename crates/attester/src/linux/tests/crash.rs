//! Processes that die while they extend.

use std::process::{Child, Command, Stdio};

use bylaw_attest::event_log::{extend, replay};

use super::*;

/// Tells the child below where its file tree is.
const TREE: &str = "BYLAW_TEST_CRASH_TREE";
/// The child dies between register and log.
const DIES: &str = "BYLAW_TEST_CRASH_DIES";

fn kernel_over(root: &Path) -> Arc<FakeKernel> {
    Arc::new(FakeKernel::open(root, Driver::new("tdx_guest", |_| vec![])))
}

/// Extends until it is killed. Not a test of its own: the tests below run it.
#[tokio::test]
#[ignore = "the child process of the tests below"]
async fn child() {
    let Some(root) = std::env::var_os(TREE) else {
        return;
    };
    let kernel = kernel_over(Path::new(&root));
    kernel.driver().dies_after_extending = std::env::var_os(DIES).is_some();
    let attester = attester(&kernel, Some(Tee::Tdx), None).unwrap();
    for number in 0u32.. {
        if attester.extend("app", &number.to_le_bytes()).await.is_err() {
            return;
        }
    }
}

fn start(root: &Path, dies: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "linux::tests::crash::child", "--ignored"])
        .env(TREE, root)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if dies {
        command.env(DIES, "1");
    }
    command.spawn().unwrap()
}

fn tree() -> (TempDir, Arc<FakeKernel>) {
    let dir = tempfile::tempdir().unwrap();
    let driver = Driver::new("tdx_guest", |_| vec![]);
    let kernel = FakeKernel::new(dir.path(), driver);
    kernel.add_registers();
    (dir, Arc::new(kernel))
}

#[tokio::test]
async fn a_crash_between_register_and_log_is_found_by_the_next_extend() {
    let (dir, kernel) = tree();
    let attester = attester(&kernel, Some(Tee::Tdx), None).unwrap();
    attester.extend("before", b"").await.unwrap();
    assert!(!start(dir.path(), true).wait().unwrap().success());
    let logged = copy_of_log(&kernel.roots);
    assert_eq!(logged.len(), 1, "the child's event is not logged");
    let lost = RuntimeEvent::new("app", 0u32.to_le_bytes(), bylaw_attest::EventVersion::V1);
    let register = attester.measurement(Measurement::Rtmr3).unwrap();
    assert_eq!(register, extend(&replay(&logged), lost.digest().as_bytes()));
    let error = platform_error(attester.extend("after", b"").await.unwrap_err());
    assert!(
        matches!(error, PlatformError::LogMismatch { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_killed_process_leaves_whole_lines_and_at_most_one_event_unlogged() {
    for round in 0..6usize {
        let (dir, kernel) = tree();
        let mut child = start(dir.path(), false);
        let log = log_path(&kernel.roots);
        // Killed at another moment each round.
        let enough = 300 * (round + 1);
        while std::fs::metadata(&log).map_or(0, |file| file.len()) < u64::try_from(enough).unwrap()
        {
            assert!(
                child.try_wait().unwrap().is_none(),
                "the child ended by itself"
            );
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let logged = copy_of_log(&kernel.roots);
        assert!(std::fs::read(&log).unwrap().ends_with(b"\n"));
        let attester = attester(&kernel, Some(Tee::Tdx), None).unwrap();
        let register = attester.measurement(Measurement::Rtmr3).unwrap();
        let number = u32::try_from(logged.len()).unwrap();
        let next = RuntimeEvent::new("app", number.to_le_bytes(), bylaw_attest::EventVersion::V1);
        let one_ahead = extend(&replay(&logged), next.digest().as_bytes());
        match attester.extend("after", b"").await {
            Ok(()) => assert_eq!(register, replay(&logged)),
            Err(AttesterError::Platform(PlatformError::LogMismatch { .. })) => {
                assert_eq!(register, one_ahead);
            }
            Err(error) => panic!("{error}"),
        }
    }
}
