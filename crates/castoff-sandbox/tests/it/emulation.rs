//! Programs of another architecture.

use castoff_sandbox::{Emulator, Execution, architectures, execution};

use crate::machine::{Machine, everywhere, in_containers};

/// Where Debian's qemu-user-static is.
const SEARCH: &str = "/usr/bin";

/// A program of arm64 that writes `arm64\n` and ends with code 7, put together by hand.
fn program() -> Vec<u8> {
    let text = b"arm64\n";
    let code: [u32; 8] = [
        0xd280_0020,                            // mov x0, #1
        0x1000_00e1,                            // adr x1, . + 28
        0xd280_0002 | (text.len() as u32) << 5, // mov x2, #length
        0xd280_0808,                            // mov x8, #64 (write)
        0xd400_0001,                            // svc #0
        0xd280_00e0,                            // mov x0, #7
        0xd280_0ba8,                            // mov x8, #93 (exit)
        0xd400_0001,                            // svc #0
    ];
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + 4 * code.len() as u64 + text.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let shorts = |file: &mut Vec<u8>, numbers: &[u16]| {
        numbers.iter().for_each(|number| file.extend(number.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, numbers: &[u32]| {
        numbers.iter().for_each(|number| file.extend(number.to_le_bytes()));
    };
    let longs = |file: &mut Vec<u8>, numbers: &[u64]| {
        numbers.iter().for_each(|number| file.extend(number.to_le_bytes()));
    };
    shorts(&mut file, &[2, 183]);
    words(&mut file, &[1]);
    longs(&mut file, &[BASE + HEADERS, 64, 0]);
    words(&mut file, &[0]);
    shorts(&mut file, &[64, 56, 1, 0, 0, 0]);
    // One segment, to be loaded and run.
    words(&mut file, &[1, 5]);
    longs(&mut file, &[0, BASE, BASE, size, size, 0x1000]);
    words(&mut file, &code);
    file.extend_from_slice(text);
    file
}

fn with_program(machine: &Machine) -> Emulator {
    use std::os::unix::fs::PermissionsExt as _;
    let path = machine.path("lower/bin/foreign");
    std::fs::write(&path, program()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let interpreter = format!("{SEARCH}/qemu-aarch64-static").into();
    Emulator { interpreter, architecture: "arm64".to_owned() }
}

// B-167
#[test]
fn programs_of_another_architecture_run_and_the_machine_knows_nothing_of_it() {
    everywhere(|machine| {
        let emulator = with_program(machine);
        let mut spec = machine.script("/bin/foreign; echo $?; ls /usr 2>/dev/null; cat /proc/self/uid_map");
        let refused = machine.run(&spec);
        assert!(!refused.stdout.contains("arm64"), "{refused:?}");
        spec.emulator = Some(emulator.clone());
        let outcome = machine.run(&spec);
        assert!(outcome.stdout.starts_with("arm64\n7\n"), "{outcome:?}");
        // The step's own process, without a shell of this architecture.
        let mut spec = machine.spec(&["/bin/foreign"]);
        spec.emulator = Some(emulator);
        let outcome = machine.run(&spec);
        assert_eq!((outcome.status.as_str(), outcome.stdout.as_str()), ("code 7", "arm64\n"), "{outcome:?}");
        let listed = std::fs::read_dir("/proc/sys/fs/binfmt_misc").into_iter().flatten().flatten();
        for entry in listed {
            assert!(!entry.file_name().to_string_lossy().starts_with("castoff"), "{entry:?}");
        }
    });
}

// B-167: rights are dropped after the namespace of the emulator gave them.
#[test]
fn an_emulated_step_has_the_rights_of_any_step() {
    everywhere(|machine| {
        let emulator = with_program(machine);
        let script = "grep -E '^Cap(Prm|Eff|Bnd)|Seccomp:' /proc/self/status; mount -t tmpfs none /tmp 2>/dev/null && exit 9; \
            touch /owned && chown 0:0 /owned && ls -n /owned | cut -c1-10; id -u; (exec su user -c id) 2>/dev/null | cut -d' ' -f1";
        let plain = machine.run(&machine.script(script));
        let mut spec = machine.script(script);
        spec.emulator = Some(emulator);
        std::fs::remove_file(machine.path("upper/owned")).unwrap();
        let emulated = machine.run(&spec);
        assert_eq!(plain.stdout, emulated.stdout, "{emulated:?}");
        assert_eq!(emulated.status, "code 0", "{emulated:?}");
        machine.is_owned("owned", 0);
    });
}

// B-167, B-201: also where there is no /proc of its own for a step.
#[test]
fn programs_of_another_architecture_run_in_a_container() {
    in_containers(|machine| {
        let emulator = with_program(machine);
        let mut spec = machine.script("/bin/foreign; echo $?");
        spec.emulator = Some(emulator);
        let outcome = machine.run(&spec);
        assert_eq!(outcome.stdout, "arm64\n7\n", "{outcome:?}");
    });
}

// B-167
#[test]
fn an_emulator_that_cannot_be_registered_is_an_error() {
    everywhere(|machine| {
        let mut spec = machine.script("true");
        let emulator = |interpreter: &str, architecture: &str| {
            Some(Emulator { interpreter: interpreter.into(), architecture: architecture.to_owned() })
        };
        spec.emulator = emulator("/no/such/emulator", "arm64");
        let outcome = machine.run(&spec);
        assert!(outcome.error.contains("registering the emulator"), "{outcome:?}");
        spec.emulator = emulator("/usr/bin/qemu-aarch64-static", "pdp11");
        assert!(machine.run(&spec).error.contains("the architecture is unknown"));
    });
}

// B-167
#[test]
fn what_runs_a_platform_is_found_out() {
    let own = "amd64";
    assert_eq!(execution(own, own, SEARCH.as_ref()), Execution::Native);
    assert_eq!(execution("386", own, SEARCH.as_ref()), Execution::Native);
    let reason = |wanted: &str, search: &str| match execution(wanted, own, search.as_ref()) {
        Execution::Impossible { reason } => reason,
        other => panic!("{wanted}: {other:?}"),
    };
    assert!(reason("pdp11", SEARCH).contains("unknown"));
    assert!(reason("s390x", "/var/empty").contains("`qemu-s390x-static`"));
    assert!(architectures().any(|name| name == "riscv64"));
}
