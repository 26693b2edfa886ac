//! Failed steps as places to stand: what they left is kept, and entered later.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::kit::{Done, Kit, below, with_steps, with_steps_as_each_user};

const DOCKERFILE: &str = "FROM busybox AS other\n\
    RUN echo from-other > /o\n\
    FROM busybox\n\
    ENV GREETING=hello\n\
    WORKDIR /w\n\
    RUN echo before > /w/before\n\
    USER app\n\
    RUN --mount=type=bind,from=other,source=/o,target=/mnt/o --mount=type=cache,target=/cache \
      --mount=type=tmpfs,target=/scratch --mount=type=secret,id=t,env=TOKEN,target=/run/t --mount=type=bind,target=/ctx \
      echo written > /tmp/written; exit 3\n";

fn fails(kit: &Kit) -> Done {
    kit.write("context/file", "context\n");
    kit.write("token", "secret-value-1");
    kit.own_all();
    kit.build(DOCKERFILE, &["--secret", "id=t,src=token"]).fails()
}

// B-216
#[test]
fn what_a_failed_step_left_is_entered_as_it_was() {
    with_steps_as_each_user(|kit| {
        fails(kit).says("hint: `castoff shell @last` goes where the step failed\n");
        let says = |words: &[&str], expected: &str| {
            let done = kit.castoff(&[&["shell"], words].concat()).succeeds();
            assert_eq!(done.text(), expected, "{words:?} {}", done.stderr);
        };
        // Files of before and of the step itself, its directory, variables and mounts.
        says(&["@last", "--", "cat", "before", "/tmp/written", "/mnt/o"], "before\nwritten\nfrom-other\n");
        says(&["--", "sh", "-c", "pwd; echo $GREETING; cat /ctx/file"], "/w\nhello\ncontext\n");
        if kit.user.has_many_ids() {
            says(&["--", "id", "-u"], "1000\n");
        }
        says(&["--", "sh", "-c", "grep -c ' /cache \\| /scratch ' /proc/mounts"], "2\n");
        // A secret is there when it is given again.
        let show = ["--", "sh", "-c", "echo [$TOKEN]; ls /run/t 2>/dev/null; true"];
        says(&show, "[]\n");
        says(&[&["--secret", "id=t,src=token"], &show[..]].concat(), "[secret-value-1]\n/run/t\n");
        assert_eq!(kit.containing("store", b"secret-value-1"), Vec::<std::path::PathBuf>::new());
        // What is changed is thrown away.
        says(&["--", "sh", "-c", "echo x > /tmp/new; rm /tmp/written; ls /tmp"], "new\n");
        says(&["--", "ls", "/tmp"], "written\n");
        // The exit code is the command's.
        assert_eq!(kit.castoff(&["shell", "@last", "--", "sh", "-c", "exit 42"]).code, Some(42));
        // Lines of standard input, without a terminal.
        let done = kit.castoff_reading(&["shell"], b"cat /tmp/written\nexit 7\n");
        assert_eq!((done.code, done.text()), (Some(7), "written\n"), "{}", done.stderr);
        let done = done.says("[stage-1 4/4] RUN --mount").says("(Dockerfile:8)").says("exit code: 3\n");
        done.says("note: the secret `t` is not there: `--secret id=t,...` gives it\n")
            .says("note: `/ctx` shows the context as it is now, ignored files too\n")
            .says("note: what is changed here is thrown away, but in cache mounts; `exit` leaves\n");
    });
}

// B-216, D-160
#[test]
fn a_cache_that_is_gone_is_not_made_empty_by_looking() {
    with_steps(|kit| {
        let dockerfile = |then: &str| {
            format!(
                "FROM busybox AS other\nRUN mkdir /d && echo first > /d/f\nFROM busybox\n\
                 RUN --mount=type=cache,target=/cache,from=other,source=/d {then}\n"
            )
        };
        kit.build(&dockerfile("exit 3"), &[]).fails();
        assert_eq!(kit.castoff(&["shell", "--", "cat", "/cache/f"]).succeeds().text(), "first\n");
        std::fs::remove_dir_all(kit.path("store/mounts")).unwrap();
        let done = kit.castoff_reading(&["shell"], b"ls /cache\n");
        done.says("note: the cache that was mounted at `/cache` is not there any more\n");
        kit.build(&dockerfile("cat /cache/f"), &[]).succeeds();
    });
}

// B-216
#[test]
fn a_file_system_without_a_shell_is_entered_with_castoffs_own() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox AS b\nFROM scratch\nCOPY --from=b /bin/busybox /busybox\nCOPY file /some/file\n\
            ENV A=1\nRUN [\"/busybox\", \"false\"]\n";
        kit.write("context/file", "content\n");
        kit.own_all();
        kit.build(dockerfile, &[]).fails();
        let lines = b"help\ncd some\npwd\nls -l\ncat file\nexport B=\"$A 2\"\necho [$B] $?\nnothing\necho $?\n\
            /busybox printf %s\\\\n from-a-program\n/busybox false\necho $?\ncd /no\nls|cat\nls -a /\n/busybox sh -c 'kill -9 $$'\n\
            echo $?\nexit 5\n";
        let done = kit.castoff_reading(&["shell"], lines);
        assert_eq!(done.code, Some(5), "{}", done.stderr);
        let text = done.text().split_once("Anything else is a program").unwrap().1;
        let text = text.split_once("that have none.\n").unwrap().1;
        let (listed, rest) = text.strip_prefix("/some\n").unwrap().split_once('\n').unwrap();
        assert!(listed.starts_with("-rw-") && listed.ends_with(" 8 file"), "{listed}");
        let (rest, all) = rest.split_once("from-a-program\n").unwrap();
        assert_eq!(rest, "content\n[1 2] 0\n127\n");
        assert!(all.starts_with("1\n") && all.contains("\nbusybox\n") && all.ends_with("137\n"), "{all}");
        let done = done.says("castoff's own shell").says("executable file not found").says("cd: ");
        done.says("this shell has no `|`");
        // It is there for who wants it, and takes one command, too.
        let done = kit.castoff(&["shell", "--builtin-shell", "--", "cat", "/some/file"]).succeeds();
        assert_eq!(done.text(), "content\n");
        assert_eq!(kit.castoff(&["shell", "--builtin-shell", "--", "cat", "/none"]).code, Some(1));
        assert_eq!(kit.castoff(&["shell", "--builtin-shell", "--", "exit", "9"]).code, Some(9));
    });
}

// B-216
#[test]
fn what_is_kept_is_of_the_last_builds_that_failed() {
    with_steps(|kit| {
        kit.castoff(&["shell"]).fails().says("no build that is remembered has a failed RUN");
        kit.build("FROM busybox\nRUN true\n", &["-t", "app"]).succeeds();
        kit.castoff(&["shell"]).fails().says("no build that is remembered has a failed RUN");
        let upper = |kit: &Kit| {
            let layers = below(&kit.path("store/layers"));
            let mut numbers: Vec<String> = layers
                .iter()
                .filter_map(|path| Some(path.file_name()?.to_str()?.strip_prefix("failed-")?.to_owned()))
                .collect();
            numbers.sort();
            numbers
        };
        for number in 1..=5 {
            kit.build(&format!("FROM busybox\nRUN touch /failed-{number}; exit 1\n"), &[]).fails();
        }
        assert_eq!(upper(kit), ["3", "4", "5"]);
        // A build that succeeds is not the one that is meant, and one by its id is.
        kit.build("FROM busybox\nRUN true\n", &[]).succeeds();
        let done = kit.castoff(&["shell", "--", "ls", "/"]).succeeds();
        assert!(done.text().contains("failed-5"), "{}", done.text());
        let list = kit.castoff(&["builds"]).succeeds();
        let ids: Vec<&str> =
            list.text().lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
        let done = kit.castoff(&["shell", ids[2], "--", "ls", "/"]).succeeds();
        assert!(done.text().contains("failed-4"), "{}", done.text());
        kit.castoff(&["shell", ids[0]]).fails().says("has no failed RUN that left something");
        kit.castoff(&["shell", ids[5], "--", "ls"]).fails().says("is no longer in the store");
        // Pruning takes it.
        kit.castoff(&["prune", "--all", "--force"]).succeeds();
        assert_eq!(upper(kit), Vec::<String>::new());
        kit.castoff(&["shell"]).fails();
    });
}

// B-216: a secret that the step wrote is not kept.
#[test]
fn what_has_a_secret_in_it_is_not_kept() {
    with_steps(|kit| {
        kit.write("token", "secret-value-1");
        let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=t cat /run/secrets/t > /leaked; exit 1\n";
        let done = kit.build(dockerfile, &["--secret", "id=t,src=token"]).fails();
        done.says("what the step left is not kept: secret `t` is in").never_says("castoff shell @last");
        assert_eq!(kit.containing("store", b"secret-value-1"), Vec::<std::path::PathBuf>::new());
        kit.castoff(&["shell"]).fails().says("no build that is remembered has a failed RUN");
    });
}

// B-216
#[test]
fn without_a_terminal_the_build_fails_as_usual() {
    with_steps(|kit| {
        let done = kit.build("FROM busybox\nRUN exit 3\n", &["--on-error=shell"]).fails();
        done.says("exit code: 3\n")
            .says("note: --on-error=shell needs a terminal on standard input and output: the build fails as usual\n");
        kit.build("FROM busybox\nCOPY none /\n", &["--on-error=shell"]).fails().says("nothing to stand in");
        kit.build("FROM busybox\nRUN true\n", &["--on-error=shell"]).succeeds().never_says("--on-error");
    });
}

/// A program at a terminal: what it shows is read, what is typed is sent.
struct AtTerminal {
    child: Child,
    user: std::fs::File,
    shown: String,
}

impl AtTerminal {
    fn start(kit: &Kit, words: &[&str]) -> AtTerminal {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let path = ptsname(&user, Vec::new()).unwrap();
        let program: OwnedFd =
            rustix::fs::open(path.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut command = kit.command(words);
        let end = || Stdio::from(program.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        AtTerminal { child, user: user.into(), shown: String::new() }
    }

    /// Reads until a text is shown, which ends with the program at the latest.
    #[track_caller]
    fn until(&mut self, text: &str) {
        while !self.shown.contains(text) {
            assert!(self.read(), "`{text}` is not in:\n{}", self.shown);
        }
    }

    /// Reads something; nothing comes after the end of the program.
    #[track_caller]
    fn read(&mut self) -> bool {
        let mut wait = [PollFd::new(&self.user, PollFlags::IN)];
        let ready = poll(&mut wait, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap();
        assert!(ready > 0, "nothing is shown after:\n{}", self.shown);
        let mut buffer = [0; 4096];
        match self.user.read(&mut buffer) {
            Ok(count @ 1..) => {
                self.shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
                true
            }
            _ => false,
        }
    }

    fn types(&mut self, text: &str) {
        self.user.write_all(text.as_bytes()).unwrap();
    }

    fn ends(mut self) -> (Option<i32>, String) {
        while self.read() {}
        let code = self.child.wait().unwrap().code();
        (code, std::mem::take(&mut self.shown))
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        // What has ended needs none.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

// B-216
#[test]
fn at_a_terminal_a_failing_build_drops_into_a_shell_with_its_secrets() {
    with_steps(|kit| {
        kit.write("token", "secret-value-1");
        let dockerfile = "FROM busybox\nWORKDIR /here\n\
            RUN --mount=type=secret,id=t,target=/run/t echo state > file; exit 3\n";
        kit.write("context/Dockerfile", dockerfile);
        let words =
            ["build", "--on-error=shell", "--progress=plain", "--secret", "id=t,src=token", "context"];
        let mut terminal = AtTerminal::start(kit, &words);
        terminal.until("`exit` leaves");
        terminal.types("echo \"<$(cat file)-$(pwd)-$(wc -c < /run/t)-$(tty)>\"\n");
        terminal.until("<state-/here-14-/dev/pts/0>");
        // A key is for what runs there, and not for the build.
        // The key is for a program of its own: the shell itself may not be ready for it.
        terminal.types("sh -c 'echo $((3+4))-sleeps; sleep 1000'\n");
        terminal.until("7-sleeps");
        terminal.types("\x03");
        terminal.types("echo after=$((20+22))\n");
        terminal.until("after=42");
        terminal.types("exit 9\n");
        let (code, shown) = terminal.ends();
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("ERROR: failed to build"), "{shown}");
    });
}

// B-216
#[test]
fn castoffs_own_shell_has_a_prompt_at_a_terminal() {
    with_steps(|kit| {
        kit.build("FROM busybox\nWORKDIR /here\nRUN exit 3\n", &[]).fails();
        let mut terminal = AtTerminal::start(kit, &["shell", "--builtin-shell"]);
        terminal.until("castoff /here# ");
        terminal.types("sh -c 'echo $((3+4))-sleeps; sleep 1000'\n");
        terminal.until("7-sleeps");
        terminal.types("\x03");
        terminal.types("echo $?-$A\n");
        terminal.until("130-");
        terminal.types("exit\n");
        let (code, shown) = terminal.ends();
        assert_eq!(code, Some(0), "{shown}");
    });
}

// B-216
#[test]
fn a_bundle_of_a_failed_step_opens_on_another_machine() {
    with_steps_as_each_user(|kit| {
        kit.write("context/file", "context\n");
        kit.write("token", "secret-value-1");
        kit.write("out/there", "");
        kit.own_all();
        let flags = ["--save-failure", "out/failed.tar", "--secret", "id=t,src=token"];
        kit.build(DOCKERFILE, &flags)
            .fails()
            .says("note: `castoff shell out/failed.tar` goes where the step failed, on any machine\n");
        assert_eq!(kit.containing("out", b"secret-value-1"), Vec::<std::path::PathBuf>::new());
        let other = kit.another();
        other.write("failed.tar", std::fs::read(kit.path("out/failed.tar")).unwrap());
        other.own_all();
        let says = |words: &[&str], expected: &str| {
            let done = other.castoff(&[&["shell", "failed.tar", "--"], words].concat()).succeeds();
            assert_eq!(done.text(), expected, "{words:?} {}", done.stderr);
        };
        says(&["cat", "before", "/tmp/written"], "before\nwritten\n");
        says(&["sh", "-c", "pwd; echo $GREETING; ls -d /mnt /cache 2>/dev/null; true"], "/w\nhello\n");
        if kit.user.has_many_ids() {
            says(&["id", "-u"], "1000\n");
        }
        let done = other.castoff_reading(&["shell", "failed.tar"], b"exit 4\n");
        assert_eq!(done.code, Some(4), "{}", done.stderr);
        done.says("(Dockerfile:8)")
            .says("note: these mounts are not in the bundle: /mnt/o, /cache, /ctx\n")
            .says("note: the secret `t` is not there");
        // It is an image, too.
        other.castoff(&["load", "-i", "failed.tar"]).succeeds();
    });
}

// B-216: bundles are of somebody else.
#[test]
fn a_hostile_bundle_gets_nothing_of_this_machine() {
    with_steps(|kit| {
        kit.write("host/private", "of this machine\n");
        let host = kit.path("host").display().to_string();
        let process = serde_json::json!({
            "argv": ["/bin/sh"], "env": [["A", "1"]], "workdir": "/", "uid": 0, "gid": 0, "groups": [0], "home": "/",
            "hostname": "h", "no_network": true, "privileged": true, "extra_hosts": [], "shm_size": null, "ulimits": [],
            "devices": [], "script": null, "platform": castoff_oci::Platform::host().to_string(),
            "mounts": [
                { "kind": "local", "target": "/host", "directory": host, "source": "/", "writable": true },
                { "kind": "cache", "target": "/cache", "id": "x", "source": "/", "writable": true },
                { "kind": "bind", "target": "/bound", "layers": [], "source": "/", "writable": true },
            ],
        });
        let document = |process: &serde_json::Value| {
            serde_json::json!({
                "version": 1, "name": "RUN \u{1b}[2J", "place": "D\u{1b}[2J:1", "message": "m", "log": "said\n\u{1b}[31m",
                "process": process, "left_out": ["/\u{1b}[2J"]
            })
            .to_string()
        };
        let bundle = |name: &str, annotation: Option<&str>| {
            let annotation = annotation.map(|text| format!("manifest:castoff.failure={text}"));
            let flag = annotation.iter().flat_map(|text| ["--annotation", text.as_str()]);
            let words: Vec<&str> = ["-o", name].into_iter().chain(flag).collect();
            let name = format!("type=oci,dest={name}");
            let words = [&["-o", name.as_str()], &words[2..]].concat();
            kit.build("FROM busybox\nRUN touch /mine\n", &words).succeeds();
        };
        bundle("hostile.tar", Some(&document(&process)));
        let shell = |command: &str| kit.castoff(&["shell", "hostile.tar", "--", "sh", "-c", command]);
        assert_eq!(shell("ls -d /mine /host /cache /bound 2>/dev/null").text(), "/mine\n");
        assert_eq!(shell("cat /proc/self/status | grep -c '^CapEff:.*ffffffff$'").text(), "0\n");
        let done = kit.castoff_reading(&["shell", "hostile.tar"], b"exit\n").succeeds();
        let done = done.says("note: mounts of this machine are not made for a bundle\n").says("> said\n");
        done.says("had all rights, and a bundle gets none").never_says("\u{1b}");

        bundle("image.tar", None);
        bundle("newer.tar", Some(&document(&process).replace("\"version\":1", "\"version\":2")));
        bundle("text.tar", Some("text"));
        bundle("short.tar", Some("{\"version\":1}"));
        let mut bytes = std::fs::read(kit.path("hostile.tar")).unwrap();
        kit.write("cut.tar", &bytes[..bytes.len() / 2]);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        kit.write("changed.tar", &bytes);
        kit.write("garbage.tar", "garbage");
        for (file, said) in [
            ("image.tar", "this is an image and no bundle of a failed step"),
            ("newer.tar", "has version 2, and this castoff knows 1"),
            ("text.tar", "the description of the step"),
            ("short.tar", "the description of the step"),
            ("cut.tar", "`cut.tar`"),
            ("changed.tar", "`changed.tar`"),
            ("garbage.tar", "`garbage.tar`"),
            ("none.tar", "opening `none.tar`"),
        ] {
            kit.castoff(&["shell", file, "--", "true"]).fails().says(said);
        }
    });
}

// B-216
#[test]
fn a_bundle_is_written_only_of_what_is_known_to_have_no_secrets() {
    with_steps(|kit| {
        kit.write("token", "secret-value-1");
        let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=t cat /run/secrets/t > /leaked; exit 1\n";
        let flags = ["--secret", "id=t,src=token", "--save-failure", "f.tar"];
        kit.build(dockerfile, &flags).fails().says("note: nothing is written to `f.tar`, because");
        let unproven = [&flags[..], &["--prove=false"]].concat();
        kit.build(dockerfile, &unproven).fails().says("with --prove=false nobody looks for them");
        kit.build("FROM busybox\nCOPY none /\n", &["--save-failure", "f.tar"])
            .fails()
            .says("nothing is written");
        kit.build("FROM busybox\nRUN true\n", &["--save-failure", "f.tar"]).succeeds();
        assert!(!kit.path("f.tar").exists());
        kit.build("FROM busybox\nRUN false\n", &["--save-failure", "no/such/f.tar"])
            .fails()
            .says("writing `no/such/f.tar`");
    });
}

// B-216
#[test]
fn an_image_without_a_shell_is_looked_into() {
    with_steps_as_each_user(|kit| {
        kit.write("context/file", "content\n");
        kit.own_all();
        kit.build("FROM scratch\nCOPY file /data/file\nUSER 7\nWORKDIR /data\n", &["-t", "bare"]).succeeds();
        let done = kit.castoff_reading(&["debug", "bare"], b"pwd\ncat file\ncd /\nls\nexit 3\n");
        assert_eq!(
            (done.code, done.text()),
            (Some(3), "/data\ncontent\ndata\ndev\netc\nproc\nsys\n"),
            "{}",
            done.stderr
        );
        done.says("note: this is castoff's own shell");
        let words = [
            "debug",
            "--toolbox",
            "busybox",
            "bare",
            "--",
            "sh",
            "-c",
            "pwd; cat data/file; echo x > new; ls",
        ];
        assert_eq!(kit.castoff(&words).succeeds().text(), "/image\ncontent\ndata\nnew\n");
        // Nothing is kept of it.
        let words = ["debug", "--toolbox", "busybox", "bare", "--", "ls", "/image"];
        assert_eq!(kit.castoff(&words).succeeds().text(), "data\n");
        assert_eq!(
            kit.castoff(&["debug", "busybox", "--", "sh", "-c", "echo $0; id -u"]).succeeds().text(),
            "sh\n0\n"
        );
        kit.castoff(&["debug", "--offline", "nothing"]).fails().says("there is no image `nothing`");
    });
}
