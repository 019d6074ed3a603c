//! A world that does not work: full disks, unwritable folders, renames that fail, damaged files, a second process.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Case, Site, wait};

/// A small file system of its own, gone at the end.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one, or says why not.
    pub(crate) fn mount(path: &Path, kilobytes: u32) -> Result<Self, String> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={kilobytes}k,mode=0777");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "levada-test"]).arg(path).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(path.to_owned())),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Fills the file system at `folder` to its last block.
pub(crate) fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut size = 1 << 20;
    while size > 0 {
        use std::io::Write as _;
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
        if file.write_all(&vec![0; size]).is_err() {
            size /= 2;
        }
    }
    path
}

/// A site of which `folder` is a full disk; `None` where no disk may be mounted.
fn full_disk(case: &Case, folder: &str) -> Option<(Tmpfs, PathBuf, Site)> {
    let root = TempDir::new().unwrap();
    let path = root.path().join(folder);
    match Tmpfs::mount(&path, 512) {
        Ok(disk) => {
            let filler = fill(&path);
            Some((disk, filler, case.site_in(root, |_| {})))
        }
        Err(reason) => {
            no_disk(&reason);
            None
        }
    }
}

/// Says that a test did not run, since no disk may be mounted.
pub(crate) fn no_disk(reason: &str) {
    eprintln!("SKIPPED: a disk cannot be full, since none can be mounted: {reason}");
    // Root on a machine that builds can mount; without root this test says that it did not run.
    let must = std::env::var("CI").is_ok_and(|ci| ci == "true") && rustix::process::geteuid().is_root();
    assert!(!must, "root could not mount a tmpfs: {reason}");
}

#[test]
fn a_full_disk_is_named_and_the_task_goes_on_once_there_is_space() {
    let case = Case::word_count();
    let expected = case.uninterrupted();
    for folder in ["data", "out"] {
        let Some((disk, filler, site)) = full_disk(&case, folder) else { return };
        site.set("restart.attempts", "2");
        let ended = site.run(&[]);
        let error = ended.error();
        assert!(error.starts_with("io: ") && error.to_lowercase().contains("no space left"), "{folder}: {error}");
        assert_eq!(ended.said.matches("restarting: ").count(), 2, "{folder}: {}", ended.said);

        site.set("restart.attempts", "1000");
        site.set("restart.delay.max", "20 ms");
        let child = site.spawn(&[]);
        std::thread::sleep(Duration::from_millis(200));
        fs::remove_file(filler).unwrap();
        let ended = wait(child).succeeded();
        assert!(ended.said.contains("restarting: "), "{folder}: {}", ended.said);
        site.output().same_as(&expected).unwrap_or_else(|problem| panic!("{folder}: {problem}"));
        drop(disk);
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let case = Case::filter();
    let expected = case.uninterrupted();
    for (key, folder) in [("checkpoint.location", "cp"), ("sink.path", "out"), ("errors.deadletterqueue.path", "dead")]
    {
        let site = case.site();
        // A file in the place of the folder above: not even root can write there.
        let blocked = site.path("blocked");
        fs::write(&blocked, "").unwrap();
        site.set(key, &blocked.join("folder").display().to_string());
        site.set("restart.attempts", "1");
        let ended = site.run(&[]);
        assert!(ended.said.contains("blocked"), "{key}: {}", ended.said);
        assert!(!ended.status.success(), "{key}: {}", ended.said);

        site.set(key, &site.path(folder).display().to_string());
        site.run(&[]).succeeded();
        site.output().same_as(&expected).unwrap_or_else(|problem| panic!("{key}: {problem}"));
    }
}

/// The last step of the sink's commit fails in the file system itself: a folder lies where the file must go.
#[test]
fn a_failing_rename_is_named_and_loses_nothing() {
    let case = Case::filter();
    let expected = case.uninterrupted();
    let model = case.site();
    model.run(&[]).succeeded();
    let mut names: Vec<_> = fs::read_dir(model.path("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.retain(|name| name.to_string_lossy().ends_with(".parquet"));
    names.sort();
    let site = case.site();
    let obstacle = site.path("out").join(&names[names.len() / 2]);
    fs::create_dir_all(obstacle.join("in the way")).unwrap();
    site.set("restart.attempts", "1");
    let ended = site.run(&[]);
    let error = ended.error();
    assert!(error.contains(&*names[names.len() / 2].to_string_lossy()), "{error}");
    fs::remove_dir_all(obstacle).unwrap();
    site.run(&[]).succeeded();
    site.output().same_as(&expected).unwrap();
}

/// A site whose run was killed in the middle, and the segment that its checkpoint ends with.
fn half_done(case: &Case) -> (Site, PathBuf) {
    let site = case.site();
    assert!(site.run(&["--kill-at", "prepare.after:5"]).killed());
    let segment = site.segments().pop().unwrap();
    (site, segment)
}

type Damage = fn(&mut Vec<u8>);

#[test]
fn a_damaged_checkpoint_is_named_and_never_half_read() {
    let case = Case::word_count();
    let damages: [(&str, Damage); 4] = [
        ("a bit that flipped", |bytes| bytes[300] ^= 1),
        ("cut in the middle", |bytes| bytes.truncate(bytes.len() / 2)),
        ("empty", Vec::clear),
        ("another file", |bytes| *bytes = b"hello, this is not a checkpoint".to_vec()),
    ];
    for (what, damage) in damages {
        let (site, segment) = half_done(&case);
        let before = site.output();
        let mut bytes = fs::read(&segment).unwrap();
        damage(&mut bytes);
        fs::write(&segment, bytes).unwrap();
        let ended = site.run(&[]);
        let error = ended.error();
        assert!(error.starts_with("corrupt: "), "{what}: {error}");
        assert!(error.contains(&segment.display().to_string()), "{what}: {error}");
        site.output().same_as(&before).unwrap_or_else(|problem| panic!("{what}: {problem}"));
    }
}

#[test]
fn a_record_that_a_crash_tore_is_left_out() {
    let case = Case::word_count();
    let expected = case.uninterrupted();
    let (site, segment) = half_done(&case);
    let mut bytes = fs::read(&segment).unwrap();
    bytes.extend([200, 0, 0, 0, 1, 2, 3, 4, b'{']);
    fs::write(&segment, bytes).unwrap();
    site.run(&[]).succeeded();
    site.output().same_as(&expected).unwrap();
}

#[test]
fn a_second_process_on_one_checkpoint_is_refused() {
    let case = Case::word_count();
    let expected = case.uninterrupted();
    let site = case.site();
    site.set("trigger", "available");
    let mut first = site.spawn(&[]);
    let mut said = BufReader::new(first.stdout.take().unwrap()).lines();
    said.by_ref().find(|line| line.as_ref().is_ok_and(|line| line.starts_with("committed "))).unwrap().unwrap();

    let ended = site.run(&[]);
    let error = ended.error();
    assert!(error.starts_with("fenced: "), "{error}");
    assert!(error.contains(&format!("process {}", first.id())), "{error}");
    assert!(!ended.said.contains("restarting"), "{}", ended.said);

    assert!(first.try_wait().unwrap().is_none(), "the first process must go on");
    first.kill().unwrap();
    first.wait().unwrap();
    site.set("trigger", "available-now");
    site.run(&[]).succeeded();
    site.output().same_as(&expected).unwrap();
}

#[test]
fn a_checkpoint_of_another_pipeline_is_refused() {
    let case = Case::word_count();
    let (site, _) = half_done(&case);
    let checkpoint = site.path("data").join("word-count").join("checkpoint");
    site.set("checkpoint.location", &checkpoint.display().to_string());
    site.set("name", "another");
    let ended = site.run(&[]);
    assert!(ended.error().contains("belongs to pipeline 'word-count'"), "{}", ended.said);
}
