mod screen;

use std::io;
use std::sync::{Arc, Mutex};

use super::*;
use castoff_oci::Digest;
use castoff_solver::{Outcome, OutputStream, StepId};
use screen::Screen;

/// A stream whose writes can be read back.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics while writing").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A display and what it has written.
struct Shown {
    renderer: Renderer,
    captured: Captured,
    now: Duration,
}

impl Shown {
    fn new(mode: ProgressMode, variables: &[(&str, &str)], size: (u16, u16)) -> Shown {
        let captured = Captured::default();
        let size = TerminalSize { columns: size.0, rows: size.1 };
        let epoch = jiff::Timestamp::UNIX_EPOCH;
        let options = RendererOptions::new(mode, &Environment::of(variables), epoch, size);
        let renderer = Renderer::new(options, Box::new(captured.clone()));
        Shown { renderer, captured, now: Duration::ZERO }
    }

    fn plain() -> Shown {
        Shown::new(ProgressMode::Plain, &[], (80, 24))
    }

    fn tty(size: (u16, u16)) -> Shown {
        Shown::new(ProgressMode::Tty, &[("NO_COLOR", "1")], size)
    }

    /// Moves on to a time in milliseconds.
    fn at(&mut self, millis: u64) -> &mut Shown {
        self.now = Duration::from_millis(millis);
        self
    }

    fn tick(&mut self) -> &mut Shown {
        self.renderer.tick(self.now);
        self
    }

    fn event(&mut self, event: Event) -> &mut Shown {
        self.renderer.event(self.now, &event);
        self
    }

    fn plan(&mut self, names: &[&str]) -> &mut Shown {
        for (number, name) in names.iter().enumerate() {
            let step = StepId(number as u32);
            let digest = Digest::of(name.as_bytes());
            self.event(Event::Planned { step, name: (*name).to_owned(), digest, inputs: Vec::new() });
        }
        self
    }

    fn start(&mut self, step: u32) -> &mut Shown {
        self.event(Event::Started { step: StepId(step) })
    }

    fn output(&mut self, step: u32, text: &str) -> &mut Shown {
        let bytes = text.as_bytes().to_vec();
        self.event(Event::Output { step: StepId(step), stream: OutputStream::Stdout, bytes })
    }

    fn status(&mut self, step: u32, item: &str, current: u64, total: Option<u64>, done: bool) -> &mut Shown {
        self.event(Event::Status { step: StepId(step), item: item.to_owned(), current, total, done })
    }

    fn end(&mut self, step: u32, outcome: Outcome) -> &mut Shown {
        self.event(Event::Finished { step: StepId(step), outcome })
    }

    fn fail(&mut self, step: u32, message: &str) -> &mut Shown {
        self.end(step, Outcome::Failed { message: message.to_owned() })
    }

    fn finish(&mut self) -> &mut Shown {
        self.renderer.finish(self.now, true);
        self
    }

    fn text(&self) -> String {
        String::from_utf8(self.captured.0.lock().expect("no test panics while writing").clone())
            .expect("text")
    }

    fn screen(&self, columns: usize, rows: usize) -> String {
        let mut screen = Screen::new(columns, rows);
        screen.feed(&self.text());
        screen.text()
    }
}

#[track_caller]
fn check(shown: &Shown, expected: &str) {
    let text = shown.text();
    assert_eq!(text, expected.trim_start_matches('\n'), "\n{text}");
}

const FALSE: &str = r#"process "/bin/sh -c false" did not complete successfully: exit code: 1"#;

// B-142, B-144, B-148, B-150, B-152
#[test]
fn plain_numbers_steps_at_their_first_line() {
    let mut shown = Shown::plain();
    shown.plan(&["[1/3] FROM base", "[2/3] COPY . .", "[3/3] RUN make", "exporting to image"]);
    shown.at(10).end(0, Outcome::Cached).end(1, Outcome::Cached);
    shown.at(20).start(2).at(143).output(2, "cc -c a.c\ncc -c b").at(12_020).output(2, ".c\n");
    shown.at(12_520).end(2, Outcome::Done);
    shown.start(3).status(3, "exporting layers", 0, None, false);
    shown.at(12_900).status(3, "exporting layers", 0, None, true);
    shown.status(3, "naming to app", 0, None, true).end(3, Outcome::Done).finish();
    check(
        &shown,
        r#"
#0 building with "castoff" instance using castoff driver

#1 [1/3] FROM base
#1 CACHED

#2 [2/3] COPY . .
#2 CACHED

#3 [3/3] RUN make
#3 0.123 cc -c a.c
#3 12.00 cc -c b.c
#3 DONE 12.5s

#4 exporting to image
#4 exporting layers
#4 exporting layers 0.4s done
#4 naming to app done
#4 DONE 0.4s
"#,
    );
}

// B-143
#[test]
fn plain_repeats_the_name_when_it_comes_back_to_a_step() {
    let mut shown = Shown::plain();
    shown.plan(&["RUN a", "RUN b", "RUN c"]).start(0).start(1).start(2);
    shown.at(100).output(0, "a1\n").output(1, "b1\n");
    // A step that has ended is shown at once; one that goes on waits until the other is silent.
    shown.at(200).end(2, Outcome::Done);
    shown.at(300).output(0, "a2\n");
    shown.at(1_400).tick();
    shown.at(1_500).output(1, "b2\n").output(0, "a3\n");
    shown.at(1_600).end(1, Outcome::Done);
    shown.at(1_700).end(0, Outcome::Done).finish();
    check(
        &shown,
        r#"
#0 building with "castoff" instance using castoff driver

#1 RUN a
#1 0.100 a1
#1 ...

#2 RUN c
#2 DONE 0.2s

#3 RUN b
#3 0.100 b1
#3 ...

#1 RUN a
#1 0.300 a2
#1 1.500 a3
#1 ...

#3 RUN b
#3 1.500 b2
#3 DONE 1.6s

#1 RUN a
#1 DONE 1.7s
"#,
    );
}

#[test]
fn plain_gives_others_the_word_when_one_step_never_stops_talking() {
    let mut shown = Shown::plain();
    shown.plan(&["RUN a", "RUN b"]).start(0).start(1).output(1, "b1\n");
    for second in 0..6 {
        shown.at(second * 1_000).output(0, "a\n").at(second * 1_000 + 500).output(0, "a\n").tick();
    }
    let text = shown.text();
    let (before, after) = text.split_once("#1 ...\n\n#2 RUN b\n#2 0.000 b1\n").expect("b is shown");
    assert_eq!(before.matches("#1 ").count(), 12, "{text}");
    assert_eq!(after, "", "{text}");
}

// B-150
#[test]
fn plain_shows_the_beginning_of_a_line_that_does_not_end() {
    let mut shown = Shown::plain();
    shown.plan(&["RUN a", "RUN b"]).start(0);
    shown.output(0, "Downloading...").at(400).tick();
    assert!(!shown.text().contains("Downloading"));
    shown.at(500).tick();
    assert!(shown.text().ends_with("#1 0.500 Downloading..."));
    shown.at(600).output(0, " done\nUnpacking").at(1_200).tick().end(1, Outcome::Cached);
    shown.at(1_300).output(0, " too\n").end(0, Outcome::Done).finish();
    check(
        &shown,
        r#"
#0 building with "castoff" instance using castoff driver

#1 RUN a
#1 0.500 Downloading... done
#1 1.200 Unpacking
#1 ...

#2 RUN b
#2 CACHED

#1 RUN a
#1 1.300  too
#1 DONE 1.3s
"#,
    );
}

#[test]
fn plain_shows_a_line_that_is_written_over_now_and_then() {
    let mut shown = Shown::plain();
    shown.plan(&["RUN curl"]).start(0);
    for tenth in 0..=120 {
        shown.at(tenth * 100).output(0, &format!("\r{tenth}")).tick();
    }
    shown.output(0, "\n").end(0, Outcome::Done);
    check(
        &shown,
        r#"
#0 building with "castoff" instance using castoff driver

#1 RUN curl
#1 5.000 50
#1 10.10 101
#1 12.00 120
#1 DONE 12.0s
"#,
    );
}

#[test]
fn plain_shows_the_last_line_without_an_end() {
    let mut shown = Shown::plain();
    shown.plan(&["RUN a"]).start(0).output(0, "done").end(0, Outcome::Done);
    assert!(shown.text().ends_with("#1 0.000 done\n#1 DONE 0.0s\n"));
}

// B-148
#[test]
fn plain_shows_a_transfer_every_twentieth_part_or_five_seconds() {
    let mut shown = Shown::plain();
    shown.plan(&["FROM a", "context"]).start(0);
    for part in 0..=100 {
        let total = Some(3_400_000);
        shown.at(part * 10).status(0, "sha256:ab", part * 34_000, total, part == 100);
        // What has ended stays so.
        if part == 100 {
            shown.status(0, "sha256:ab", 3_400_000, total, true);
        }
    }
    shown.end(0, Outcome::Done).start(1);
    for second in 0..=7 {
        shown.at(1_000 + second * 1_000).status(1, "transferring context", second * 1_050, None, second == 7);
    }
    shown.end(1, Outcome::Done).finish();
    let text = shown.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("sha256")).collect();
    assert_eq!(lines.len(), 21, "{lines:?}");
    assert_eq!(lines[0], "#1 sha256:ab 0B / 3.40MB");
    assert_eq!(lines[1], "#1 sha256:ab 170.00kB / 3.40MB 0.1s");
    assert_eq!(lines[20], "#1 sha256:ab 3.40MB / 3.40MB 1.0s done");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("transferring")).collect();
    assert_eq!(
        lines,
        [
            "#2 transferring context:",
            "#2 transferring context: 5.25kB 5.0s",
            "#2 transferring context: 7.35kB 7.0s done",
        ]
    );
}

// B-151
#[test]
fn plain_shows_warnings_where_they_come() {
    let mut shown = Shown::plain();
    let warning = |step, line| Event::Warning {
        step,
        rule: Some("StageNameCasing".to_owned()),
        text: "use lower case".to_owned(),
        line,
    };
    shown.plan(&["load"]).start(0).event(warning(Some(StepId(0)), Some(3)));
    shown.event(Event::Note { step: StepId(0), text: "a.c has changed".to_owned() });
    shown.end(0, Outcome::Done).event(warning(None, None)).finish();
    check(
        &shown,
        r#"
#0 building with "castoff" instance using castoff driver

#1 load
#1 WARN: StageNameCasing: use lower case (line 3)
#1 a.c has changed
#1 DONE 0.0s
"#,
    );
}

// B-142, B-153, D-345
#[test]
fn a_failure_cancels_the_others_and_leaves_the_end_of_its_log() {
    let mut shown = Shown::plain();
    shown.plan(&["RUN a", "RUN b"]).start(0).start(1);
    for line in 1..=12 {
        shown.at(line * 10).output(0, &format!("line {line}\n"));
    }
    shown.at(500).fail(0, FALSE).end(1, Outcome::Cancelled).finish();
    let text = shown.text();
    assert!(
        text.ends_with(&format!("#1 0.120 line 12\n#1 ERROR: {FALSE}\n\n#2 RUN b\n#2 CANCELED\n")),
        "{text}"
    );
    let failure = shown.renderer.failure().expect("a failure");
    assert_eq!((failure.name.as_str(), failure.message.as_str()), ("RUN a", FALSE));
    assert_eq!(failure.log.len(), 10);
    assert_eq!(failure.log[0], "0.030 line 3");
}

#[test]
fn a_step_that_never_began_is_not_cancelled_aloud() {
    for mode in [ProgressMode::Plain, ProgressMode::Tty] {
        let mut shown = Shown::new(mode, &[], (80, 24));
        shown.plan(&["RUN a", "RUN b"]).start(0).fail(0, "no").end(1, Outcome::Cancelled).finish();
        assert!(shown.text().contains("RUN a") && !shown.text().contains("RUN b"), "{}", shown.text());
    }
}

#[test]
fn plain_does_not_leave_a_step_that_has_ended() {
    let mut shown = Shown::plain();
    shown.plan(&["context", "RUN b"]).start(0).end(0, Outcome::Done);
    shown.status(0, "transferring context", 13, None, true).start(1).end(1, Outcome::Done).finish();
    check(
        &shown,
        r#"
#0 building with "castoff" instance using castoff driver

#1 context
#1 DONE 0.0s

#1 context
#1 transferring context: 13B done

#2 RUN b
#2 DONE 0.0s
"#,
    );
}

// B-155
#[test]
fn plain_names_are_cut_when_asked_for() {
    let name = format!("RUN {}", "x".repeat(100));
    let mut shown = Shown::new(ProgressMode::Plain, &[("PROGRESS_NO_TRUNC", "0")], (80, 24));
    shown.plan(&[&name]).start(0);
    assert!(shown.text().lines().all(|line| line.len() <= 75), "{}", shown.text());
    let mut shown = Shown::plain();
    shown.plan(&[&name]).start(0);
    assert!(shown.text().contains(&name));
}

#[test]
fn a_name_with_line_ends_stays_on_its_line() {
    let mut shown = Shown::plain();
    shown.plan(&["RUN <<EOF\nrm -rf /\n\x1b[2J"]).end(0, Outcome::Cached);
    assert!(shown.text().contains("#1 RUN <<EOF rm -rf /  [2J\n"), "{}", shown.text());
}

// B-141, B-158
#[test]
fn quiet_says_nothing() {
    for mode in [ProgressMode::Quiet, ProgressMode::None] {
        let mut shown = Shown::new(mode, &[], (80, 24));
        shown.plan(&["RUN a"]).start(0).output(0, "text\n").tick().fail(0, FALSE).finish();
        assert_eq!(shown.text(), "");
        assert_eq!(shown.renderer.failure().expect("a failure").log, ["0.000 text"]);
    }
}

// B-157
#[test]
fn rawjson_speaks_of_digests_and_times() {
    let mut shown = Shown::new(ProgressMode::RawJson, &[], (80, 24));
    shown.plan(&["RUN a"]).at(1_500).start(0).output(0, "hi\n");
    shown.status(0, "sha256:ab", 5, Some(10), false).at(2_000).fail(0, "no").tick().finish();
    shown.event(Event::Warning {
        step: None,
        rule: Some("R".to_owned()),
        text: "t".to_owned(),
        line: Some(2),
    });
    let digest = Digest::of(b"RUN a").to_string();
    let expected = [
        r#"{"vertexes":[{"digest":"D","name":"RUN a"}]}"#,
        r#"{"vertexes":[{"digest":"D","name":"RUN a","started":"1970-01-01T00:00:01.500000000Z"}]}"#,
        r#"{"logs":[{"vertex":"D","stream":1,"data":"aGkK","timestamp":"1970-01-01T00:00:01.500000000Z"}]}"#,
        concat!(
            r#"{"statuses":[{"id":"sha256:ab","vertex":"D","name":"sha256:ab","total":10,"current":5,"#,
            r#""timestamp":"1970-01-01T00:00:01.500000000Z","started":"1970-01-01T00:00:01.500000000Z"}]}"#
        ),
        concat!(
            r#"{"vertexes":[{"digest":"D","name":"RUN a","started":"1970-01-01T00:00:01.500000000Z","#,
            r#""completed":"1970-01-01T00:00:02.000000000Z","error":"no"}]}"#
        ),
        concat!(
            r#"{"warnings":[{"level":1,"short":"UjogdA==","range":[{"start":{"line":2,"character":0},"#,
            r#""end":{"line":2,"character":0}}]}]}"#
        ),
    ];
    let text = shown.text();
    let lines: Vec<String> = text.lines().map(|line| line.replace(&digest, "D")).collect();
    assert_eq!(lines, expected, "{text}");
}

/// A build in its middle: a cached step, a pull, two running steps with logs.
fn middle(shown: &mut Shown) {
    shown.plan(&[
        "[internal] load build definition from Dockerfile",
        "[base 1/3] FROM docker.io/library/alpine:3.20",
        "[base 2/3] COPY go.mod .",
        "[build 1/2] RUN make",
        "[test 1/1] RUN make test",
        "exporting to image",
    ]);
    shown.tick().start(0).status(0, "transferring dockerfile", 154, None, true).end(0, Outcome::Done);
    let blob = format!("sha256:{}", "9".repeat(64));
    shown.at(100).start(1).status(1, &blob, 0, Some(3_400_000), false);
    shown.at(900).status(1, &blob, 1_700_000, Some(3_400_000), false).end(2, Outcome::Cached);
    shown.at(1_000).start(3).output(3, "\x1b[32mcc -c\ta.c\x1b[0m\ncc -c b.c\n").start(4);
    for test in 1..=9 {
        shown.output(4, &format!("test {test} ok\n"));
    }
}

// B-156
#[test]
fn tty_shows_running_steps_with_their_logs() {
    let mut shown = Shown::tty((80, 30));
    middle(&mut shown);
    shown.at(2_300).tick();
    assert_eq!(
        shown.screen(80, 30),
        "\
[+] Building 2.3s (2/6)                                                  castoff
 => [internal] load build definition from Dockerfile                        0.0s
 => => transferring dockerfile: 154B                                        0.0s
 => [base 1/3] FROM docker.io/library/alpine:3.20                           2.2s
 => => sha256:999999999999 [==========>         ] 1.70MB / 3.40MB           2.2s
 => CACHED [base 2/3] COPY go.mod .                                         0.0s
 => [build 1/2] RUN make                                                    1.3s
 => => # cc -c   a.c
 => => # cc -c b.c
 => [test 1/1] RUN make test                                                1.3s
 => => # test 4 ok
 => => # test 5 ok
 => => # test 6 ok
 => => # test 7 ok
 => => # test 8 ok
 => => # test 9 ok
"
    );
}

#[test]
fn tty_shows_why_a_step_ran() {
    let mut shown = Shown::tty((60, 12));
    shown.plan(&["[build 1/2] COPY . ."]).start(0);
    shown.event(Event::Note { step: StepId(0), text: "cache miss: file a.c changed".to_owned() });
    shown.at(1_000).end(0, Outcome::Done).finish();
    assert_eq!(
        shown.screen(60, 12),
        "\
[+] Building 1.0s (1/1) FINISHED                     castoff
 => [build 1/2] COPY . .                                1.0s
 => => cache miss: file a.c changed
"
    );
}

// B-156
#[test]
fn tty_never_outgrows_the_terminal_and_keeps_what_matters() {
    let mut shown = Shown::tty((60, 12));
    middle(&mut shown);
    shown.at(2_300).tick();
    assert_eq!(
        shown.screen(60, 12),
        "\
[+] Building 2.3s (2/6)                              castoff
 => [base 1/3] FROM docker.io/library/alpine:3.20       2.2s
 => => sha256:999999999999 1.70MB / 3.40MB              2.2s
 => [build 1/2] RUN make                                1.3s
 => => # cc -c   a.c
 => => # cc -c b.c
 => [test 1/1] RUN make test                            1.3s
 => => # test 6 ok
 => => # test 7 ok
 => => # test 8 ok
 => => # test 9 ok
"
    );
}

#[test]
fn tty_redraws_in_place_and_leaves_everything_on_the_screen() {
    let mut shown = Shown::tty((60, 12));
    middle(&mut shown);
    shown.at(2_300).tick().at(2_350).tick().at(2_400).tick();
    assert_eq!(shown.text().matches("\x1b[?2026h").count(), 5, "one frame per tenth of a second");
    shown.fail(4, FALSE).end(3, Outcome::Cancelled).at(2_500).tick().end(1, Outcome::Done);
    shown.renderer.finish(Duration::from_millis(2_600), false);
    assert_eq!(
        shown.screen(60, 40),
        "\
[+] Building 2.6s (5/6) FINISHED                     castoff
 => [internal] load build definition from Dockerfile    0.0s
 => => transferring dockerfile: 154B                    0.0s
 => [base 1/3] FROM docker.io/library/alpine:3.20       2.4s
 => => sha256:999999999999 1.70MB / 3.40MB              2.4s
 => CACHED [base 2/3] COPY go.mod .                     0.0s
 => CANCELED [build 1/2] RUN make                       1.4s
 => ERROR [test 1/1] RUN make test                      1.4s
"
    );
}

#[test]
fn tty_survives_a_terminal_that_becomes_narrower() {
    let mut shown = Shown::tty((80, 24));
    shown.plan(&["RUN a", "RUN b"]).start(0).start(1).at(200).tick();
    let mut screen = Screen::new(80, 24);
    screen.feed(&shown.text());
    screen.resize(40);
    let before = shown.text().len();
    shown.renderer.resize(TerminalSize { columns: 40, rows: 24 });
    shown.at(400).tick();
    screen.feed(&shown.text()[before..]);
    assert_eq!(
        screen.text(),
        "\
[+] Building 0.4s (0/2)          castoff
 => RUN a                           0.4s
 => RUN b                           0.4s
"
    );
}

#[test]
fn tty_draws_a_short_build_once() {
    let mut shown = Shown::tty((80, 24));
    shown.plan(&["RUN a"]).end(0, Outcome::Cached).at(50).tick().finish();
    assert_eq!(shown.text().matches("\x1b[?2026h").count(), 1);
    assert!(shown.screen(80, 24).starts_with("[+] Building 0.1s (1/1) FINISHED "));
}

#[test]
fn tty_cannot_be_disturbed_by_what_steps_write() {
    let mut shown = Shown::tty((40, 10));
    shown.plan(&["RUN a"]).start(0).output(0, "\x1b[2J\x1b[H\x1b]0;x\x07evil\r\x1b[5Aworse\u{9b}31m\n");
    shown.output(0, &format!("{}\n", "w".repeat(200))).at(200).tick();
    assert_eq!(
        shown.screen(40, 10),
        "\
[+] Building 0.2s (0/1)          castoff
 => RUN a                           0.2s
 => => # worse31m
 => => # wwwwwwwwwwwwwwwwwwwwwwwwwwww...
"
    );
}

#[test]
fn tty_has_colours_unless_told_not_to() {
    let mut shown = Shown::new(ProgressMode::Tty, &[("BUILDKIT_COLORS", "run=green")], (40, 10));
    shown.plan(&["RUN a", "RUN b"]).end(0, Outcome::Done).fail(1, "no").finish();
    assert!(shown.text().contains("\x1b[32m => RUN a"), "{:?}", shown.text());
    assert!(shown.text().contains("\x1b[31m => ERROR RUN b"), "{:?}", shown.text());
    let mut shown = Shown::tty((40, 10));
    shown.plan(&["RUN a"]).end(0, Outcome::Done).finish();
    assert!(!shown.text().contains("\x1b[3"), "{:?}", shown.text());
}

/// The small terminal of these tests is checked against a real one where there is one.
#[test]
fn tty_looks_the_same_in_tmux() {
    let Ok(directory) = tempfile::tempdir() else { return };
    let frames = directory.path().join("frames");
    let mut shown = Shown::tty((60, 12));
    middle(&mut shown);
    shown.at(2_300).tick().at(2_400).fail(4, FALSE).at(2_500).tick();
    std::fs::write(&frames, shown.text()).expect("a temporary directory is writable");
    let socket = directory.path().join("socket");
    let tmux = |args: &[&str]| {
        let mut command = std::process::Command::new("tmux");
        command.arg("-S").arg(&socket).args(["-f", "/dev/null"]).args(args).env_remove("TMUX").output()
    };
    let show =
        format!("cat '{}'; tmux -S '{}' wait-for -S shown; exec cat", frames.display(), socket.display());
    match tmux(&["new-session", "-d", "-x", "60", "-y", "12", &show]) {
        Ok(started) if started.status.success() => {}
        // No tmux here.
        _ => return,
    }
    tmux(&["wait-for", "shown"]).expect("tmux runs");
    let pane = tmux(&["capture-pane", "-p"]).expect("tmux runs");
    tmux(&["kill-server"]).expect("tmux runs");
    let pane = String::from_utf8(pane.stdout).expect("text");
    assert_eq!(pane.trim_end_matches('\n'), shown.screen(60, 12).trim_end_matches('\n'));
}
