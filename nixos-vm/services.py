# What nixos-vm/services.nix asserts of the machine. `nixos-vm/tests/booted` runs it on a systemd without NixOS.
SERVICES = {"producer": 5000, "consumer": 5001}
HANDLED = "/var/lib/lifeline-consumer/handled"


def show(unit: str, name: str) -> str:
    return machine.succeed(f"systemctl show --property={name} --value lifeline-{unit}").strip()


def until_up(unit: str) -> None:
    machine.wait_for_unit(f"lifeline-{unit}.service")
    machine.wait_until_succeeds(f"curl --silent --fail http://127.0.0.1:{SERVICES[unit]}/health | grep -F 'UP!'")


def until_restarted(unit: str, times: int) -> None:
    machine.wait_until_succeeds(f"test $(systemctl show --property=NRestarts --value lifeline-{unit}) -ge {times}")
    until_up(unit)


def until_handled() -> None:
    """Something more than now."""
    lines = int(machine.succeed(f"wc -l <{HANDLED}"))
    machine.wait_until_succeeds(f"test $(wc -l <{HANDLED}) -gt {lines}")


def setting(line: str) -> None:
    folder = "/run/systemd/system/lifeline-consumer.service.d"
    machine.succeed(f"mkdir -p {folder} && echo '[Service]\n{line}' >{folder}/test.conf && systemctl daemon-reload")


def no_setting() -> None:
    machine.succeed("rm /run/systemd/system/lifeline-consumer.service.d/test.conf && systemctl daemon-reload")


with subtest("messages flow from the first start on"):
    for unit in SERVICES:
        until_up(unit)
        assert show(unit, "NRestarts") == "0"
    machine.wait_until_succeeds(f"test -s {HANDLED}")

with subtest("no privileges, no capabilities, a filter of system calls"):
    for unit in ["producer", "consumer", "aws"]:
        status = machine.succeed(f"cat /proc/{show(unit, 'MainPID')}/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert "0" not in fields["Uid"].split(), fields["Uid"]
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    # What it writes is for root and itself.
    machine.succeed("test $(stat --format=%a /var/lib/private) = 700")
    machine.succeed(f"test $(stat --format=%a {HANDLED}) = 600")

with subtest("what is killed is started again"):
    machine.succeed("systemctl kill --signal=KILL lifeline-consumer")
    until_restarted("consumer", 1)
    until_handled()

with subtest("a frozen process is killed by the watchdog"):
    machine.succeed("systemctl kill --signal=STOP lifeline-producer")
    until_restarted("producer", 1)
    machine.succeed("journalctl --unit lifeline-producer | grep -F 'Watchdog timeout'")

with subtest("a consumer that hangs is killed by the watchdog, and the message is handled after it"):
    machine.succeed(
        "curl --silent --fail http://127.0.0.1:4566/ --data Action=Publish"
        " --data-urlencode TopicArn=arn:aws:sns:us-east-1:000000000000:events --data-urlencode Message=hang"
        " --header 'Authorization: AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/sns/aws4_request'"
    )
    until_restarted("consumer", 2)
    machine.succeed("journalctl --unit lifeline-consumer | grep -F 'Watchdog timeout'")
    machine.wait_until_succeeds(f"grep -qx hang {HANDLED}")

with subtest("a stop drains, and is a success"):
    machine.succeed("systemctl stop lifeline-consumer")
    assert (show("consumer", "Result"), show("consumer", "ExecMainStatus")) == ("success", "0")
    machine.succeed("journalctl --unit lifeline-consumer | grep -E 'drained received=[0-9]+ deleted=[0-9]+'")
    machine.succeed("systemctl start lifeline-consumer")
    until_handled()

with subtest("a bad setting is named, and not tried again"):
    setting("Environment=MAX_IN_FLIGHT=lots")
    machine.fail("systemctl restart lifeline-consumer")
    assert (show("consumer", "ExecMainStatus"), show("consumer", "ActiveState")) == ("2", "failed")
    machine.succeed("journalctl --unit lifeline-consumer | grep -F MAX_IN_FLIGHT=lots")
    no_setting()

with subtest("a file with credentials is waited for, and read"):
    setting("EnvironmentFile=/run/aws")
    machine.fail("systemctl restart lifeline-consumer")
    machine.succeed("(umask 077 && echo AWS_SECRET_ACCESS_KEY=from-the-file >/run/aws)")
    until_up("consumer")
    machine.succeed(f"tr '\\0' '\\n' </proc/{show('consumer', 'MainPID')}/environ | grep -x AWS_SECRET_ACCESS_KEY=from-the-file")
    no_setting()

with subtest("SNS and SQS are started again: both services live through it"):
    ids = [show(unit, "MainPID") for unit in SERVICES]
    machine.succeed("systemctl restart lifeline-aws")
    until_handled()
    assert ids == [show(unit, "MainPID") for unit in SERVICES]
