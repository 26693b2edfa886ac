//! Builds that are stopped in the middle, politely and otherwise.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::kit::{Done, Kit, layers, with_steps, with_steps_as_each_user};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Returns the processes whose command line has a word.
fn processes(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let lines = entries.filter_map(|path| std::fs::read(path.join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(word)).collect()
}

/// Waits until no process has a word in its command line; what was killed may take a moment to be gone.
#[track_caller]
fn nothing_runs(word: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !processes(word).is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", processes(word));
        std::thread::yield_now();
    }
}

/// Waits until a process has a word in its command line; one that begins another program has none for a moment.
#[track_caller]
fn something_runs(word: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while processes(word).is_empty() {
        assert!(Instant::now() < deadline, "nothing has `{word}`");
        std::thread::yield_now();
    }
}

/// Reads until the text ends so, and returns the reader of the rest.
fn read_until(child: &mut Child, text: &str) -> impl FnOnce() -> String + use<> {
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.ends_with(text) {
        assert_ne!(reader.read_line(&mut seen).unwrap(), 0, "`{text}` does not come:\n{seen}");
    }
    move || {
        reader.read_to_string(&mut seen).unwrap();
        seen
    }
}

// B-005, D-142
#[test]
fn an_interrupted_build_ends_with_130_and_leaves_nothing_running() {
    with_steps_as_each_user(|kit| {
        for by in [Signal::INT, Signal::TERM] {
            // A number of seconds that nobody else sleeps.
            let seconds = format!("{}.{}", 80_000 + std::process::id() % 10_000, by.as_raw());
            let dockerfile = format!(
                "FROM busybox\nRUN echo done > /one\nRUN trap '' INT TERM; (sleep {seconds} &) ; echo now sleeping; sleep {seconds}\n"
            );
            kit.write("context/Dockerfile", dockerfile.as_bytes());
            let mut child = kit.command(["build", "-t", "never", "context"]).spawn().unwrap();
            let rest = read_until(&mut child, " now sleeping\n");
            something_runs(&seconds);
            signal(&child, by);
            let stderr = rest();
            assert_eq!(child.wait().unwrap().code(), Some(130), "{stderr}");
            nothing_runs(&seconds);
            let again = dockerfile.split("RUN trap").next().unwrap();
            let done = kit.build(again, &[]).succeeds();
            assert_eq!(done.cached(), ["RUN echo done > /one"], "{}", done.stderr);
            kit.castoff(&["inspect", "never"]).fails();
        }
    });
}

// What a terminal does: everybody in the foreground gets the signal.
#[test]
fn an_interruption_of_the_whole_group_ends_with_130() {
    with_steps_as_each_user(|kit| {
        let seconds = format!("{}.25", 50_000 + std::process::id() % 10_000);
        kit.write("context/Dockerfile", format!("FROM busybox\nRUN echo now sleeping; sleep {seconds}\n"));
        let mut command = kit.command(["build", "context"]);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().unwrap();
        let rest = read_until(&mut child, " now sleeping\n");
        rustix::process::kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
        let stderr = rest();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{stderr}");
        nothing_runs(&seconds);
    });
}

/// Starts two builds of a step that waits for `go` in a cache mount, and returns the one that runs it and
/// the one that waits for the result.
fn owner_and_waiter(kit: &Kit) -> (Child, Child) {
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c echo now waiting; tries=0; \
        until [ -e /c/go ]; do tries=$((tries+1)); [ $tries -lt 400 ] || exit 9; sleep 0.05; done; touch /result\n\
        RUN true\n";
    kit.write("context/Dockerfile", dockerfile);
    let mut owner = kit.command(["build", "context"]).spawn().unwrap();
    let rest = read_until(&mut owner, " now waiting\n");
    std::thread::spawn(rest);
    let mut waiter = kit.command(["build", "-t", "waited", "context"]).spawn().unwrap();
    let rest = read_until(&mut waiter, "CACHED\n");
    std::thread::spawn(rest);
    (owner, waiter)
}

/// Lets the step of [`owner_and_waiter`] end.
fn go(kit: &Kit) {
    kit.build("FROM busybox\nRUN --mount=type=cache,target=/c touch /c/go\n", &[]).succeeds();
}

// D-320, B-118
#[test]
fn a_build_goes_on_when_the_one_it_waits_for_dies() {
    with_steps(|kit| {
        let (mut owner, mut waiter) = owner_and_waiter(kit);
        owner.kill().unwrap();
        owner.wait().unwrap();
        go(kit);
        assert_eq!(waiter.wait().unwrap().code(), Some(0));
        kit.castoff(&["run", "waited", "test", "-e", "/result"]).succeeds();
    });
}

// B-005
#[test]
fn a_build_that_waits_for_another_can_be_interrupted() {
    with_steps(|kit| {
        let (mut owner, mut waiter) = owner_and_waiter(kit);
        signal(&waiter, Signal::INT);
        assert_eq!(waiter.wait().unwrap().code(), Some(130));
        go(kit);
        assert_eq!(owner.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn a_killed_build_leaves_nothing_running() {
    with_steps_as_each_user(|kit| {
        let seconds = format!("{}.5", 70_000 + std::process::id() % 10_000);
        kit.write("context/Dockerfile", format!("FROM busybox\nRUN echo now sleeping; sleep {seconds}\n"));
        let mut child = kit.command(["build", "context"]).spawn().unwrap();
        let _rest = read_until(&mut child, " now sleeping\n");
        child.kill().unwrap();
        child.wait().unwrap();
        nothing_runs(&seconds);
    });
}

#[test]
fn a_run_is_interrupted_too() {
    with_steps(|kit| {
        let seconds = format!("{}.5", 60_000 + std::process::id() % 10_000);
        let words = ["run", "busybox", "sh", "-c", &format!("echo now sleeping >&2; sleep {seconds}")];
        let mut child = kit.command(words).spawn().unwrap();
        let rest = read_until(&mut child, "now sleeping\n");
        signal(&child, Signal::INT);
        rest();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        nothing_runs(&seconds);
    });
}

/// Six steps of every kind; `word` tells one build's from another's.
fn crash_dockerfile(word: &str) -> String {
    format!(
        "FROM busybox AS a\nRUN echo {word} > /one && rm /etc/group\nCOPY files /files/\nRUN cat /files/* > /two\n\
         FROM busybox\nWORKDIR /w/{word}\nCOPY --from=a /one /two /w/\n\
         RUN --mount=type=cache,target=/c echo {word} >> /c/log; cat /w/one /w/two > /all\n"
    )
}

/// After this, whatever was left by a killed build is right.
fn verify(kit: &Kit, word: &str) {
    let done = kit.build(&crash_dockerfile(word), &["-t", "survivor"]).succeeds();
    let expected = format!("{word}\nfirst\nsecond\n");
    let run = kit.castoff(&["run", "survivor", "cat", "/all"]).succeeds();
    assert_eq!(run.text(), expected, "{}", done.stderr);
    // Reading the layers checks every digest of the archive.
    kit.castoff(&["save", "-o", "survivor.tar", "survivor"]).succeeds();
    let layers = layers(&kit.path("survivor.tar"));
    assert_eq!(layers.last().unwrap().text("all"), expected);
    assert_eq!(layers.len(), 4);
    for path in super::kit::below(&kit.path("store/blobs")).into_iter().filter(|path| path.is_file()) {
        let digest = castoff_oci::Digest::of(&std::fs::read(&path).unwrap());
        assert_eq!(path.file_name().unwrap().to_str(), Some(digest.hex().as_str()));
    }
    if let Ok(index) = std::fs::read(kit.path("layout/index.json")) {
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        for manifest in index["manifests"].as_array().unwrap() {
            let path = manifest["digest"].as_str().unwrap().replace(':', "/");
            assert!(kit.path(&format!("layout/blobs/{path}")).exists(), "{manifest}");
        }
        kit.build("FROM base\nRUN cat /all\n", &["--build-context", "base=oci-layout://layout"]).succeeds();
    }
    let done = kit.build(&crash_dockerfile(word), &["-t", "survivor"]).succeeds();
    assert_eq!(done.executed(), Vec::<&str>::new(), "{}", done.stderr);
}

// B-118
#[test]
fn a_hundred_killed_builds_leave_a_store_that_works() {
    with_steps_as_each_user(|kit| {
        kit.write("context/files/1", "first\n");
        kit.write("context/files/2", "second\n");
        let start = Instant::now();
        kit.build(&crash_dockerfile("warm-up"), &[]).succeeds();
        // Kills fall anywhere in a build, on a machine of any speed.
        let whole = start.elapsed().min(Duration::from_millis(400)).as_micros() as u64;
        let mut killed = 0_u64;
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let rounds = if kit.user == super::kit::User::Current { 100 } else { 20 };
        for round in 0..rounds {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let word = format!("word{}", round / 10);
            kit.write("context/Dockerfile", crash_dockerfile(&word));
            let no_cache: &[&str] = if round % 2 == 0 { &["--no-cache"] } else { &[] };
            let words = [
                &["build", "-t", "survivor", "-o", "type=oci,tar=false,dest=layout", "-o", "type=image"],
                no_cache,
                &["context"],
            ]
            .concat();
            let mut child = kit.command(words).spawn().unwrap();
            let mut stderr = child.stderr.take().unwrap();
            let (sender, ended) = mpsc::channel::<()>();
            let reader = std::thread::spawn(move || {
                let mut text = String::new();
                stderr.read_to_string(&mut text).unwrap();
                drop(sender);
                text
            });
            let _timed_out_or_ended = ended.recv_timeout(Duration::from_micros(random % whole));
            child.kill().unwrap();
            let status = child.wait().unwrap();
            let text = reader.join().unwrap();
            killed += u64::from(status.code().is_none());
            assert!(status.code().is_none_or(|code| code == 0), "{text}");
            if round % 10 == 9 {
                verify(kit, &word);
            }
        }
        // How many is a matter of the machine's speed; none would mean that nothing was tried.
        assert!(killed > 0, "all {rounds} builds ended before they were killed");
        let left = super::kit::below(&kit.path("store/tmp"));
        kit.castoff(&["prune", "--all", "--force"]).succeeds();
        let remaining = super::kit::below(&kit.path("store/tmp"));
        assert!(remaining.is_empty(), "{remaining:?} of {}", left.len());
        let done: Done = kit.castoff(&["run", "survivor", "cat", "/all"]).succeeds();
        assert_eq!(done.text(), format!("word{}\nfirst\nsecond\n", rounds / 10 - 1));
    });
}
