//! Several castoffs at once on one store, and a world that closes its pipes.

use std::io::Read as _;
use std::process::Child;

use super::kit::{Done, Kit, with_steps, with_steps_as_each_user};

fn spawn(kit: &Kit, dockerfile: &str, name: &str) -> Child {
    kit.write(&format!("context/{name}.Dockerfile"), dockerfile);
    let file = format!("context/{name}.Dockerfile");
    kit.command(["build", "-t", name, "-f", &file, "context"]).spawn().unwrap()
}

// B-118, D-320
#[test]
fn builds_beside_each_other_share_their_steps() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\n\
            RUN --mount=type=cache,target=/log echo ran >> /log/runs; sleep 0.3; echo same > /result\n\
            RUN --mount=type=cache,target=/log cp /log/runs /runs\n";
        let children: Vec<Child> =
            (0..4).map(|number| spawn(kit, dockerfile, &format!("n{number}"))).collect();
        let done: Vec<Done> = children.into_iter().map(|child| Done::wait(child).succeeds()).collect();
        let executed: usize = done.iter().map(|done| done.executed().len()).sum();
        assert_eq!(executed, 2, "{}", done.iter().map(|done| done.stderr.as_str()).collect::<String>());
        for number in 0..4 {
            assert_eq!(
                kit.castoff(&["run", &format!("n{number}"), "cat", "/runs"]).succeeds().text(),
                "ran\n"
            );
        }
    });
}

// B-135: what a build uses is not collected under it.
#[test]
fn pruning_beside_builds_takes_nothing_from_them() {
    with_steps(|kit| {
        for round in 0..3 {
            let children: Vec<Child> = (0..3)
                .map(|number| {
                    let dockerfile = format!(
                        "FROM busybox AS a\nRUN echo {round} {number} > /a\nRUN cat /a > /b\n\
                         FROM busybox\nCOPY --from=a /a /b /\nRUN cat /a /b > /c\n"
                    );
                    spawn(kit, &dockerfile, &format!("p{number}"))
                })
                .collect();
            for _ in 0..3 {
                kit.castoff(&["prune", "--force"]).succeeds();
            }
            children.into_iter().for_each(|child| drop(Done::wait(child).succeeds()));
            kit.castoff(&["prune", "--force"]).succeeds();
            for number in 0..3 {
                let run = kit.castoff(&["run", &format!("p{number}"), "cat", "/c"]).succeeds();
                assert_eq!(run.text(), format!("{round} {number}\n").repeat(2));
            }
        }
    });
}

// B-006
#[test]
fn a_reader_that_goes_away_does_not_stop_the_build() {
    with_steps(|kit| {
        let mut child =
            spawn(kit, "FROM busybox\nRUN for i in $(seq 1 500); do echo $i; done; touch /x\n", "gone");
        drop(child.stderr.take());
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        kit.castoff(&["inspect", "gone"]).succeeds();
        let mut child = kit.command(["save", "gone"]).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let code = child.wait().unwrap().code();
        assert!(code.is_some() && !stderr.contains("panicked"), "{code:?} {stderr}");
    });
}

// B-150, B-154
#[test]
fn everything_that_a_step_says_is_shown() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox\nRUN for i in $(seq 1 20000); do echo line $i; done; \
            printf 'not text: \\377\\n'; printf 'no end' >&2\n";
        let done = kit.build(dockerfile, &[]).succeeds();
        let number = |line: &str| line.split(" line ").nth(1)?.parse::<u32>().ok();
        assert_eq!(
            done.stderr.lines().filter_map(number).collect::<Vec<_>>(),
            (1..=20_000).collect::<Vec<_>>()
        );
        assert!(done.stderr.contains(" line 20000\n") && done.stderr.contains("not text: \u{fffd}\n"));
        assert!(done.stderr.contains(" no end\n"), "{}", &done.stderr[done.stderr.len() - 500..]);
        let done = kit.build("FROM busybox\nRUN head -c 3000000 /dev/zero | tr '\\0' '~'\n", &[]).succeeds();
        let shown = done.stderr.lines().map(|line| line.matches('~').count()).max();
        assert_eq!(shown, Some(3_000_000), "on one line");
    });
}

// B-224, B-118
#[test]
fn a_full_disk_is_named_and_survived() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can make a disk that is small.
        return;
    }
    with_steps(|kit| {
        kit.write(
            "context/Dockerfile",
            "FROM busybox\nRUN echo one > /one\nRUN head -c 20000000 /dev/zero > /big\n",
        );
        kit.write("context/bytes", vec![b'x'; 20_000_000]);
        kit.write("context/copy", "FROM scratch\nCOPY bytes /\n");
        kit.write("context/small", "FROM busybox\nRUN echo one > /one\nRUN cat /one\n");
        let script = "mkdir disk && mount -t tmpfs -o size=10m none disk && cp -r store disk/store && \
            export CASTOFF_ROOT=$PWD/disk/store && { ! $0 build context && ! $0 build -f context/copy context && \
            find disk/store/tmp -mindepth 1 && $0 build -f context/small context; } 2>&1";
        let mut command = std::process::Command::new("unshare");
        let castoff = kit.command::<&str>([]);
        command.args(["--mount", "sh", "-c", script]).arg(castoff.get_program()).current_dir(kit.path(""));
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let done = Done::of(command).succeeds();
        assert_eq!(done.text().matches("ERROR: failed to build").count(), 2, "{}", done.text());
        let errors: Vec<&str> =
            done.text().lines().filter(|line| line.starts_with("ERROR: failed to build")).collect();
        assert!(errors[1].contains("No space left on device"), "{errors:?}");
        assert!(
            done.text().contains("RUN echo one > /one\n") && done.text().contains(" one\n"),
            "{}",
            done.text()
        );
    });
}
