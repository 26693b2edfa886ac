//! Users and groups of an image (D-213, D-214, D-253, D-254).

use std::fs;
use std::sync::Arc;

use castoff_graph::Owner;
use castoff_layer::{Ownership, Tree, View};
use castoff_solver::passwd::{Ids, UserError, resolve_maker, resolve_owner, resolve_user};
use tempfile::TempDir;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\n\
    www:x:33:34:web:/var/www:/bin/false\nbob:x:1000:1001::/home/bob:/bin/sh\nhomeless:x:7:7:::\n";
const GROUP: &str = "root:x:0:\nwww-data:x:34:\nbob:x:1001:\nwheel:x:10:bob,www\naudio:x:11:alice,bob\n";

fn image(files: bool) -> (TempDir, View) {
    let root = tempfile::tempdir().unwrap();
    if files {
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), PASSWD).unwrap();
        fs::write(root.path().join("etc/group"), GROUP).unwrap();
    }
    let view = View::new(vec![Arc::new(Tree::directory(root.path(), None, Ownership::Keep).unwrap())]);
    (root, view)
}

#[track_caller]
fn owner(files: bool, text: &str, expected: Result<(u32, u32), &str>) {
    let (_root, view) = image(files);
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let owner = Owner { user: user.to_owned(), group: group.map(str::to_owned) };
    let found = resolve_owner(&view, &owner).map_err(|error| error.to_string());
    assert_eq!(found, expected.map_err(str::to_owned), "{text}");
}

// D-247, as live BuildKit does it: a number is its own group, and who is not known is root.
#[test]
fn directories_of_workdir_belong_to_whom_user_names() {
    for (text, expected) in [
        ("", (0, 0)),
        ("root", (0, 0)),
        ("bob", (1000, 1001)),
        ("bob:wheel", (1000, 10)),
        ("bob:12", (1000, 12)),
        ("bob:", (1000, 0)),
        ("12", (12, 12)),
        ("12:34", (12, 34)),
        ("33", (33, 33)),
        ("stranger", (0, 0)),
        ("stranger:wheel", (0, 10)),
        ("bob:strangers", (1000, 1001)),
    ] {
        let (_root, view) = image(true);
        assert_eq!(resolve_maker(&view, text).unwrap(), expected, "{text}");
    }
    let (_root, view) = image(false);
    assert_eq!(resolve_maker(&view, "bob").unwrap(), (0, 0));
}

#[track_caller]
fn user(files: bool, text: &str, uid: u32, groups: &[u32], home: &str) {
    let (_root, view) = image(files);
    let ids = resolve_user(&view, text).unwrap();
    let expected = Ids { uid, gid: groups[0], groups: groups.to_vec(), home: home.to_owned() };
    assert_eq!(ids, expected, "{text}");
}

#[test]
fn owners_are_numbers_or_names_of_the_image() {
    // D-213, D-214.
    owner(true, "bob", Ok((1000, 1001)));
    owner(true, "bob:wheel", Ok((1000, 10)));
    owner(true, "bob:5", Ok((1000, 5)));
    owner(true, "5:wheel", Ok((5, 10)));
    owner(true, "5", Ok((5, 5)));
    owner(true, "33", Ok((33, 33)));
    owner(true, "5:6", Ok((5, 6)));
    owner(true, "root", Ok((0, 0)));
    owner(false, "root:root", Ok((0, 0)));
    owner(false, "5:6", Ok((5, 6)));
    owner(true, "alice", Err("unable to find user alice: no matching entries in passwd file"));
    owner(true, "bob:staff", Err("unable to find group staff: no matching entries in group file"));
    owner(false, "bob", Err("unable to find user bob: no matching entries in passwd file"));
    owner(true, "4294967295", Err("id `4294967295` is not between 0 and 4294967294"));
    owner(true, "99999999999:1", Err("id `99999999999` is not between 0 and 4294967294"));
}

#[test]
fn processes_get_the_groups_of_their_user() {
    // D-253, D-254.
    user(true, "bob", 1000, &[1001, 10, 11], "/home/bob");
    user(true, "1000", 1000, &[1001, 10, 11], "/home/bob");
    user(true, "www", 33, &[34, 10], "/var/www");
    user(true, "bob:audio", 1000, &[11], "/home/bob");
    user(true, "bob:77", 1000, &[77], "/home/bob");
    user(true, "1000:77", 1000, &[77], "/home/bob");
    user(true, "4242", 4242, &[0], "/");
    user(true, "4242:wheel", 4242, &[10], "/");
    user(true, "", 0, &[0], "/root");
    user(true, "root", 0, &[0], "/root");
    user(true, "homeless", 7, &[7], "/");
    user(false, "", 0, &[0], "/");
    user(false, "root", 0, &[0], "/");
    user(false, "12:13", 12, &[13], "/");
}

#[test]
fn unknown_users_and_groups_fail() {
    // D-254.
    let (_root, view) = image(true);
    assert!(matches!(resolve_user(&view, "alice"), Err(UserError::UnknownUser { .. })));
    assert!(matches!(resolve_user(&view, "alice:10"), Err(UserError::UnknownUser { .. })));
    assert!(matches!(resolve_user(&view, "bob:staff"), Err(UserError::UnknownGroup { .. })));
    let (_root, view) = image(false);
    assert!(matches!(resolve_user(&view, "bob"), Err(UserError::UnknownUser { .. })));
}
