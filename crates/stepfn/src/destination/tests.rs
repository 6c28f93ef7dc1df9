use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn folder_of_tests() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_whole_file_appears_at_the_end_and_not_before() {
    let folder = folder_of_tests();
    let path = folder.path().join("x.json");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let mut dropped = Destination::open(&path, Way::Whole).unwrap();
    dropped.write("half").unwrap();
    drop(dropped);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    let mut finished = Destination::open(&path, Way::Whole).unwrap();
    finished.write("new").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    finished.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(names(folder.path()), ["x.json"]);
}

#[test]
fn records_are_appended_whole_and_replace_the_old_ones_only_once_there_is_one() {
    let folder = folder_of_tests();
    let path = folder.path().join("x.jsonl");
    fs::write(&path, "old\n").unwrap();
    drop(Destination::open(&path, Way::Records).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "old\n");
    let mut records = Destination::open(&path, Way::Records).unwrap();
    records.write("one\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
    records.write("two\n").unwrap();
    drop(records);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    // Nothing has come of it.
    for way in [Way::Whole, Way::Records] {
        Destination::open(&path, way).unwrap().finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}

#[test]
fn work_that_fails_leaves_no_empty_file() {
    let folder = folder_of_tests();
    for way in [Way::Whole, Way::Records] {
        drop(Destination::open(&folder.path().join("x"), way).unwrap());
        assert_eq!(names(folder.path()), [""; 0]);
        Destination::open(&folder.path().join("x"), way).unwrap().finish().unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[test]
fn a_file_has_one_writer() {
    let folder = folder_of_tests();
    let path = folder.path().join("x.jsonl");
    let first = Destination::open(&path, Way::Records).unwrap();
    let second = Destination::open(&path, Way::Records).unwrap_err();
    assert!(second.what().ends_with("x.jsonl: another program is writing this file"), "{second}");
    drop(first);
    assert!(Destination::open(&path, Way::Records).is_ok());
}

#[test]
fn what_cannot_be_written_is_found_before_the_work() {
    let folder = folder_of_tests();
    for way in [Way::Whole, Way::Records] {
        for path in [folder.path().to_owned(), folder.path().join("no/such")] {
            let error = Destination::open(&path, way).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::File, "{error}");
            assert!(error.what().starts_with(&path.display().to_string()), "{error}");
        }
    }
}

#[test]
fn a_link_stays_a_link() {
    let folder = folder_of_tests();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "old").unwrap();
    symlink(&file, &link).unwrap();
    write(&link, "new").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
}

#[test]
fn a_link_to_nothing_is_written_through_and_stays_if_nothing_is_written() {
    let folder = folder_of_tests();
    let [file, link, second] = ["file", "link", "second"].map(|name| folder.path().join(name));
    symlink("file", &link).unwrap();
    symlink(&link, &second).unwrap();
    for way in [Way::Whole, Way::Records] {
        drop(Destination::open(&second, way).unwrap());
        assert_eq!(names(folder.path()), ["link", "second"]);
        let mut written = Destination::open(&second, way).unwrap();
        written.write("new").unwrap();
        written.finish().unwrap();
        assert!([&link, &second].iter().all(|link| fs::symlink_metadata(link).unwrap().is_symlink()));
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        fs::remove_file(&file).unwrap();
    }
    let mut places = Places::default();
    places.write("-o", &second).unwrap();
    assert!(places.write("--html", &file).is_err() && places.write("--html", &link).is_err());
    symlink(folder.path().join("no/such"), folder.path().join("lost")).unwrap();
    symlink("circle", folder.path().join("circle")).unwrap();
    for (name, way) in [("lost", Way::Whole), ("lost", Way::Records), ("circle", Way::Whole), ("circle", Way::Records)]
    {
        let error = Destination::open(&folder.path().join(name), way).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::File, "{error}");
        assert!(fs::symlink_metadata(folder.path().join(name)).unwrap().is_symlink());
    }
}

#[test]
fn what_a_killed_program_left_is_removed_by_the_next_and_not_what_is_being_written() {
    let folder = folder_of_tests();
    let path = folder.path().join("x.json");
    fs::write(folder.path().join(".x.json.part"), "left").unwrap();
    let mut first = Destination::open(&path, Way::Whole).unwrap();
    first.write("first").unwrap();
    assert_eq!(names(folder.path()), [".x.json.part"]);
    let mut second = Destination::open(&path, Way::Whole).unwrap();
    second.write("second").unwrap();
    assert_eq!(names(folder.path()).len(), 2);
    first.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    second.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "second");
    assert_eq!(names(folder.path()), ["x.json"]);
    // What was left may be read to save what is in it.
    let left = folder.path().join(".x.json.part");
    fs::write(&left, "left").unwrap();
    let mut places = Places::default();
    places.read("--input", &left);
    let error = places.write("-o", &path).unwrap_err();
    assert!(error.what().ends_with("use the same file until it is finished"), "{error}");
    fs::remove_file(left).unwrap();
    // A link of that name is not followed.
    symlink(&path, folder.path().join(".x.json.part")).unwrap();
    write(&path, "third").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "third");
    assert_eq!(names(folder.path()), [".x.json.part", "x.json"]);
}

#[test]
fn a_device_is_written_as_it_is() {
    write(Path::new("/dev/null"), "text").unwrap();
    let error = write(Path::new("/dev/full"), "text").unwrap_err();
    assert!(error.what().starts_with("/dev/full: ") && error.hint().starts_with("make room"), "{error}");
}

#[test]
fn one_file_has_one_use_whatever_its_names() {
    let folder = folder_of_tests();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a"), "text").unwrap();
    symlink(at("a"), at("soft")).unwrap();
    fs::hard_link(at("a"), at("hard")).unwrap();
    let mut places = Places::default();
    places.read("--input", &at("a"));
    for name in ["a", "soft", "hard", "./a"] {
        let error = places.write("-o", &at(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Option);
        assert!(error.what().starts_with("--input ") && error.what().ends_with(" are the same file"), "{error}");
    }
    places.write("-o", &at("new")).unwrap();
    assert!(places.write("--html", &at("./new")).is_err());
    // Also if it is there by now.
    let opened = Destination::open(&at("new"), Way::Records).unwrap();
    assert!(places.write("--html", &at("./new")).is_err());
    drop(opened);
    places.write("--html", &at("other")).unwrap();
    places.write("--svg", Path::new("/dev/null")).unwrap();
    places.write("--html", Path::new("/dev/null")).unwrap();
}

#[test]
fn what_can_not_be_written_comes_with_what_to_do() {
    for (kind, hint) in [
        (io::ErrorKind::PermissionDenied, "write to another folder"),
        (io::ErrorKind::ReadOnlyFilesystem, "write to another folder"),
        (io::ErrorKind::FileTooLarge, "make room"),
        (io::ErrorKind::NotFound, "in a folder that exists"),
        (io::ErrorKind::WouldBlock, "wait for it"),
    ] {
        let error = failed("x", &kind.into());
        assert!(error.what().starts_with("x: ") && error.hint().contains(hint), "{error}");
    }
}
