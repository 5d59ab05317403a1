use std::path::Path;

use super::*;
use crate::fake_kernel::{Driver, FakeKernel, put};

const ASKED: ReportData = ReportData::new([7; 64]);

fn request() -> Request<'static> {
    Request {
        report_data: &ASKED,
        privilege_level: None,
    }
}

/// A driver whose quote is the challenge twice.
fn kernel(dir: &Path) -> FakeKernel {
    let twice = |asked: &ReportData| [asked.as_bytes().as_slice(); 2].concat();
    FakeKernel::new(dir, Driver::new("tdx_guest", twice))
}

fn ask(kernel: &FakeKernel) -> Result<Report, PlatformError> {
    let result = report(kernel, &kernel.roots, "tdx_guest", request());
    if kernel.reports().exists() {
        assert_eq!(kernel.entries(), 0, "the entry is removed");
    }
    result
}

#[test]
fn a_report_is_for_the_bytes_asked_and_leaves_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path());
    assert_eq!(provider(&kernel, &kernel.roots).unwrap(), "tdx_guest");
    assert_eq!(kernel.entries(), 0);
    let report = ask(&kernel).unwrap();
    assert_eq!(report.out, [7; 128]);
    assert!(report.aux.is_empty(), "this driver has no auxblob");
    kernel.driver().aux = Some(b"table".to_vec());
    assert_eq!(ask(&kernel).unwrap().aux, b"table");
}

#[test]
fn a_privilege_level_is_one_more_write() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path());
    let leveled = Request {
        privilege_level: Some(2),
        ..request()
    };
    report(&kernel, &kernel.roots, "tdx_guest", leveled).unwrap();
    assert_eq!(kernel.driver().levels, [b"2"]);
    ask(&kernel).unwrap();
    assert_eq!(kernel.driver().levels.len(), 1, "none asked, none written");
}

#[test]
fn another_writer_is_noticed_and_outlasted() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path());
    kernel.driver().disturbances = ATTEMPTS - 1;
    assert_eq!(ask(&kernel).unwrap().out, [7; 128]);
    kernel.driver().disturbances = ATTEMPTS;
    let error = ask(&kernel).unwrap_err();
    let PlatformError::Generation {
        attempts,
        expected,
        actual,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((attempts, actual), (ATTEMPTS, expected + 1));
    assert_eq!(
        kernel.driver().disturbances,
        0,
        "a bounded number of attempts"
    );
}

#[test]
fn a_driver_that_swallows_the_request_is_noticed() {
    /// Takes every write and does nothing.
    #[derive(Debug)]
    struct Deaf(FakeKernel);
    impl Kernel for Deaf {
        fn make_dir(&self, path: &Path) -> io::Result<()> {
            self.0.make_dir(path)?;
            put(&path.join("inblob"), &[9; 64]);
            Ok(())
        }
        fn remove_dir(&self, path: &Path) -> io::Result<()> {
            self.0.remove_dir(path)
        }
        fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
            self.0.read(path, limit)
        }
        fn write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let deaf = Deaf(kernel(dir.path()));
    let error = report(&deaf, &deaf.0.roots, "tdx_guest", request()).unwrap_err();
    assert!(
        matches!(
            error,
            PlatformError::Generation {
                expected: 1,
                actual: 0,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_busy_driver_is_asked_again_a_bounded_number_of_times() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path());
    for (name, errno) in [
        ("outblob", Errno::BUSY),
        ("inblob", Errno::BUSY),
        ("outblob", Errno::AGAIN),
        ("outblob", Errno::INTR),
    ] {
        kernel.driver().faults = vec![(name, errno); 2];
        assert_eq!(ask(&kernel).unwrap().out, [7; 128], "{name} {errno}");
    }
    kernel.driver().faults = vec![("outblob", Errno::BUSY); 20];
    let error = ask(&kernel).unwrap_err();
    assert!(
        matches!(
            error,
            PlatformError::Busy {
                attempts: ATTEMPTS,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(kernel.driver().faults.len(), 15, "five attempts");
}

#[test]
fn each_failure_has_its_own_error() {
    type Expected = fn(&PlatformError) -> bool;
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path());
    let cases: [(&'static str, Errno, Expected); 9] = [
        ("mkdir", Errno::ACCESS, |e| {
            matches!(e, PlatformError::NotPermitted { .. })
        }),
        ("mkdir", Errno::PERM, |e| {
            matches!(e, PlatformError::NotPermitted { .. })
        }),
        ("mkdir", Errno::ROFS, |e| {
            matches!(e, PlatformError::NotPermitted { .. })
        }),
        ("mkdir", Errno::NOMEM, |e| {
            matches!(e, PlatformError::Driver { .. })
        }),
        ("provider", Errno::NXIO, |e| {
            matches!(e, PlatformError::NoProvider { .. })
        }),
        ("outblob", Errno::NXIO, |e| {
            matches!(e, PlatformError::NoProvider { .. })
        }),
        ("outblob", Errno::IO, |e| {
            matches!(e, PlatformError::Driver { .. })
        }),
        ("outblob", Errno::TIMEDOUT, |e| {
            matches!(e, PlatformError::Driver { .. })
        }),
        ("auxblob", Errno::IO, |e| {
            matches!(e, PlatformError::Driver { .. })
        }),
    ];
    for (name, errno, expected) in cases {
        kernel.driver().faults = vec![(name, errno)];
        let error = ask(&kernel).unwrap_err();
        assert!(expected(&error), "{name} {errno}: {error}");
    }
    kernel.driver().provider = None;
    let error = ask(&kernel).unwrap_err();
    assert!(
        error.to_string().contains("not a confidential VM"),
        "{error}"
    );
    std::fs::remove_dir_all(&kernel.roots.configfs).unwrap();
    let error = ask(&kernel).unwrap_err();
    assert!(matches!(error, PlatformError::NoTsm { .. }), "{error}");
}

#[test]
fn the_driver_must_be_the_one_asked_and_have_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path());
    kernel.driver().provider = Some("sev_guest");
    let error = ask(&kernel).unwrap_err();
    assert!(
        matches!(&error, PlatformError::OtherProvider { actual, .. } if actual == "sev_guest"),
        "{error}"
    );
    let long = "x".repeat(65).leak();
    for name in ["", " ", long] {
        kernel.driver().provider = Some(name);
        let error = ask(&kernel).unwrap_err();
        assert!(matches!(error, PlatformError::Attribute { .. }), "{error}");
    }
}

#[test]
fn blobs_have_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path());
    for (length, fits) in [
        (MAX_BLOB, true),
        (MAX_BLOB + 1, false),
        (3 * MAX_BLOB, false),
    ] {
        kernel.driver().quoting = Box::new(move |_| vec![1; length]);
        assert_eq!(ask(&kernel).is_ok(), fits, "{length}");
    }
    kernel.driver().quoting = Box::new(|_| vec![]);
    kernel.driver().aux = Some(vec![0; MAX_BLOB + 1]);
    let error = ask(&kernel).unwrap_err();
    assert!(
        matches!(
            error,
            PlatformError::Size {
                what: "auxblob",
                ..
            }
        ),
        "{error}"
    );
}
