"""docs/eks.md: its policies, its names and its commands, held to the overlay and to each other."""

import json
import re
import subprocess

import rendering

PAGE = (rendering.TREE.parent / "docs/eks.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
QUEUE = "arn:aws:sqs:eu-west-1:111122223333:events-consumer"
TOPIC = "arn:aws:sns:eu-west-1:111122223333:events"


def documents():
    """The files that the page writes, with the example's values."""
    found = {}
    for name, text in re.findall(r"cat >(\w+)\.json <<'?J'?\n(.*?)\nJ\n", PAGE, re.DOTALL):
        found[name] = json.loads(text.replace("$QUEUE", QUEUE).replace("$TOPIC", TOPIC))
    return found


def allowed(policy):
    """{resource: actions}"""
    found = {}
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow" and "*" not in json.dumps(statement), statement
        actions = statement["Action"]
        found.setdefault(statement["Resource"], set()).update([actions] if isinstance(actions, str) else actions)
    return found


def table(text):
    """{(role, what on): actions} of a table of roles"""
    found, role = {}, None
    for cells in re.findall(r"^\| (.*?) ?\| (.*?) \| (.*?) \|", text, re.MULTILINE):
        name = re.match(r"`lifeline-(\w+)`", cells[0])
        role = name[1] if name else role
        actions = set(re.findall(r"`((?:sns|sqs):\w+)`", cells[1]))
        if actions:
            found.setdefault((role, cells[2].partition(":")[0]), set()).update(actions)
    return found


def test_the_policies_are_what_the_table_says():
    resource = {"the topic": TOPIC, "the queue": QUEUE, "the dead-letter queue": f"{QUEUE}-dlq"}
    for (role, on), actions in table(PAGE).items():
        assert allowed(documents()[role])[resource[on]] == actions, (role, on)
    assert {role for role, _ in table(PAGE)} == {"producer", "consumer", "keda"}


def test_the_queue_takes_from_this_topic_alone_and_gives_up_to_its_dead_letters():
    attributes = {key: json.loads(value) for key, value in documents()["queue"].items()}
    assert attributes["RedrivePolicy"] == {"deadLetterTargetArn": f"{QUEUE}-dlq", "maxReceiveCount": 5}
    ack = rendering.combination(["ack"]).one("Queue", "events-consumer")["spec"]
    assert attributes["Policy"] == json.loads(ack["policy"])
    assert attributes["RedrivePolicy"] == json.loads(ack["redrivePolicy"])


def test_names_are_those_of_the_overlay():
    values = rendering.VALUES["data"]
    assert values["topicArn"] == TOPIC and values["queueArn"] == QUEUE
    assert values["queueUrl"].endswith("/events-consumer")
    for name in ("producer", "consumer"):
        assert values[f"{name}Role"].endswith(f":role/lifeline-{name}")
        assert f"associate lifeline {name} lifeline-{name}" in PAGE


def test_the_version_of_keda_is_one_that_the_component_takes():
    least = re.search(r"KEDA (\d+\.\d+\.\d+) or newer", (rendering.TREE / "components/autoscaling/README.md").read_text())[1]
    given = re.search(r"kedacore/keda .*--version (\S+)", PAGE)[1]
    assert [int(n) for n in given.split(".")] >= [int(n) for n in least.split(".")]


def test_whatever_is_made_is_taken_away():
    whole = "\n".join(BLOCKS)
    made = set(re.findall(r"aws (?:sns|sqs|iam|ecr) create-(\w+)|(subscribe)\b", whole))
    assert {first or second for first, second in made} == {"topic", "queue", "role", "repository", "subscribe"}
    for undone in ("delete-topic", "delete-queue", "delete-role ", "delete-repository", "unsubscribe", "delete cluster"):
        assert undone in PAGE.partition("\n## 9. ")[2]


def test_every_block_is_shell():
    for block in BLOCKS:
        result = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr + block
