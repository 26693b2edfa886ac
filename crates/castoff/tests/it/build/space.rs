//! `castoff du` and `castoff prune`.

use super::kit::{Kit, with_steps_as_each_user};

fn total(kit: &Kit) -> u64 {
    let done = kit.castoff(&["du", "--format", "json"]).succeeds();
    let rows = done.text().lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.map(|row| row["Size"].as_u64().unwrap()).sum()
}

// B-134, B-135
#[test]
fn pruning_removes_what_no_image_needs() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox AS build\n\
            RUN --mount=type=cache,target=/c head -c 3000000 /dev/zero > /c/big && head -c 2000000 /dev/zero > /scrap\n\
            RUN mkdir -m 500 /closed && cp /scrap /closed/x && echo kept > /kept\n\
            FROM busybox\nCOPY --from=build /kept /\nCMD [\"cat\", \"/kept\"]\n";
        kit.build(dockerfile, &["-t", "kept"]).succeeds();
        let before = total(kit);
        assert!(before > 9_000_000, "{before}");
        let shown = kit.castoff(&["du"]).succeeds();
        assert!(shown.text().contains("Reclaimable:") && shown.text().contains("Total:"), "{}", shown.text());
        kit.castoff(&["prune"]).fails().says("--force");
        let pruned = kit.castoff(&["prune", "--force"]).succeeds();
        assert!(pruned.text().contains("Total:"), "{}", pruned.text());
        let after = total(kit);
        assert!(after < before - 6_500_000, "{before} -> {after}");
        assert_eq!(kit.castoff(&["run", "kept"]).succeeds().text(), "kept\n");
        // D-319
        let done = kit.build(dockerfile, &["-t", "kept"]).succeeds();
        assert_eq!(done.executed().len(), 3, "{}", done.stderr);
        kit.castoff(&["rmi", "kept", "busybox"]).succeeds();
        kit.castoff(&["prune", "--all", "--force"]).succeeds();
        assert!(total(kit) < 10_000, "{}", kit.castoff(&["du", "--verbose"]).text());
    });
}

// B-136
#[test]
fn filters_choose_what_is_pruned() {
    with_steps_as_each_user(|kit| {
        let dockerfile =
            "FROM busybox\nRUN --mount=type=cache,target=/c echo cached > /c/file; cp /c/file /result\n";
        kit.build(dockerfile, &[]).succeeds();
        kit.castoff(&["prune", "--force", "--filter", "type=exec.cachemount"]).succeeds();
        let done = kit.build(dockerfile, &[]).succeeds();
        assert_eq!(done.cached().len(), 1, "{}", done.stderr);
        let rows = kit.castoff(&["du", "--filter", "type=exec.cachemount", "--format", "json"]).succeeds();
        assert_eq!(rows.text(), "");
        kit.castoff(&["prune", "--force", "--filter", "until=24h"]).succeeds();
        assert_eq!(kit.build(dockerfile, &[]).succeeds().cached().len(), 1);
        kit.castoff(&["prune", "--force", "--filter", "colour=red"]).fails().says("colour");
    });
}
