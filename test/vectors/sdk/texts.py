"""Environments, manifests and event logs; run by make.py."""

import hashlib
import json

from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives import serialization as ser
from eth_account import Account
from eth_account.messages import _hash_eip191_message, encode_typed_data
from eth_keys import keys
from eth_utils import keccak

APP = bytes([0x11] * 20)
OTHER_APP = bytes([0x33] * 20)


def x_public(secret):
    key = x25519.X25519PrivateKey.from_private_bytes(secret)
    return key.public_key().public_bytes(ser.Encoding.Raw, ser.PublicFormat.Raw)


VARIABLES = [
    [("API_KEY", "secret"), ("EMPTY", ""), ("_x9", "line one\nline two\t\"quoted\" \\ back")],
    [("NAME", "\u00e4\u6f22\U0001f511 <&> \u2028")],
    [],
    [("A" * 255, "b" * 1000), ("a", "1"), ("A", "2")],
]


def plaintext_of(variables):
    body = {"env": [{"key": key, "value": value} for key, value in variables]}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def listed(variables):
    return [{"key": key, "value": value} for key, value in variables]


def env_v1():
    cases = []
    for number, variables in enumerate(VARIABLES):
        recipient = hashlib.sha256(b"recipient %d" % number).digest()
        ephemeral = hashlib.sha256(b"ephemeral %d" % number).digest()
        iv = hashlib.sha256(b"iv %d" % number).digest()[:12]
        shared = x25519.X25519PrivateKey.from_private_bytes(ephemeral).exchange(
            x25519.X25519PublicKey.from_public_bytes(x_public(recipient)))
        plaintext = plaintext_of(variables)
        sealed = x_public(ephemeral) + iv + AESGCM(shared).encrypt(iv, plaintext, None)
        cases.append({
            "vars": listed(variables),
            "recipient_secret": recipient.hex(),
            "recipient_public": x_public(recipient).hex(),
            "ephemeral_secret": ephemeral.hex(),
            "iv": iv.hex(),
            "plaintext": plaintext.hex(),
            "sealed": sealed.hex(),
        })
    return cases


def env_digest(app_id, revision, sealed):
    """EIP-712 by eth-account, not by hand."""
    message = encode_typed_data(full_message={
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "EncryptedEnvironment": [
                {"name": "revision", "type": "uint64"},
                {"name": "sealed", "type": "bytes32"},
            ],
        },
        "primaryType": "EncryptedEnvironment",
        "domain": {"name": "Bylaw environment", "version": "2",
                   "verifyingContract": "0x" + app_id.hex()},
        "message": {"revision": revision, "sealed": keccak(sealed)},
    })
    return _hash_eip191_message(message)


def env_v2():
    good = []
    revisions = [1, 7, 0, 2**53 - 1]
    for number, (variables, revision) in enumerate(zip(VARIABLES, revisions)):
        app_id = APP if number != 1 else OTHER_APP
        recipient = hashlib.sha256(b"recipient v2 %d" % number).digest()
        ephemeral = hashlib.sha256(b"ephemeral v2 %d" % number).digest()
        signer = hashlib.sha256(b"signer v2 %d" % number).digest()
        iv = hashlib.sha256(b"iv v2 %d" % number).digest()[:12]
        shared = x25519.X25519PrivateKey.from_private_bytes(ephemeral).exchange(
            x25519.X25519PublicKey.from_public_bytes(x_public(recipient)))
        key = HKDF(SHA256(), 32, b"bylaw-env-v2",
                   x_public(ephemeral) + x_public(recipient) + app_id).derive(shared)
        head = b"BYLAWENV\x02" + revision.to_bytes(8, "big")
        plaintext = plaintext_of(variables)
        sealed = x_public(ephemeral) + iv + AESGCM(key).encrypt(iv, plaintext, head + app_id)
        digest = env_digest(app_id, revision, sealed)
        signature = keys.PrivateKey(signer).sign_msg_hash(digest).to_bytes()
        good.append({
            "vars": listed(variables),
            "app_id": app_id.hex(),
            "revision": revision,
            "signer_secret": signer.hex(),
            "signer_address": Account.from_key(signer).address.lower()[2:],
            "recipient_secret": recipient.hex(),
            "recipient_public": x_public(recipient).hex(),
            "ephemeral_secret": ephemeral.hex(),
            "iv": iv.hex(),
            "plaintext": plaintext.hex(),
            "sealed": sealed.hex(),
            "digest": digest.hex(),
            "envelope": (head + signature + sealed).hex(),
        })

    def these(name, *variables):
        return {"name": name, "vars": listed(variables)}

    return {
        "good": good,
        "good_vars": [
            these("value of 131072 bytes", ("A", "x" * 131072)),
            these("name of 255 characters", ("_" + "a" * 254, "x")),
            these("names that differ in case", ("A", "1"), ("a", "2")),
        ],
        "bad_vars": [
            these("empty name", ("", "x")),
            these("name begins with a digit", ("1A", "x")),
            these("hyphen in a name", ("A-B", "x")),
            these("equals sign in a name", ("A=B", "x")),
            these("blank in a name", ("A B", "x")),
            these("line break after a name", ("A\n", "x")),
            these("letter beyond ASCII in a name", ("\u00c4", "x")),
            these("digit beyond ASCII in a name", ("A\u0663", "x")),
            these("NUL in a name", ("A\0", "x")),
            these("name of 256 characters", ("A" * 256, "x")),
            these("NUL in a value", ("A", "x\0y")),
            these("value of 131073 bytes", ("A", "x" * 131073)),
            these("value of 131073 bytes in fewer characters", ("A", "\u00e4" * 65536 + "x")),
            these("a name twice", ("A", "1"), ("B", "2"), ("A", "3")),
            these("a name twice with one value", ("A", "1"), ("A", "1")),
            these("file beyond 262144 bytes", ("A", "x" * 131072), ("B", "y" * 131072)),
        ],
    }


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False,
                      allow_nan=False)


def compose_hash():
    def case(name, compose, normalize=False):
        value = json.loads(compose)
        if normalize:
            runner = value.get("runner")
            if runner == "bash":
                value.pop("docker_compose_file", None)
            if runner == "docker-compose":
                value.pop("bash_script", None)
            if value.get("pre_launch_script") == "":
                del value["pre_launch_script"]
        text = canonical(value)
        return {"name": name, "compose": compose, "normalize": normalize, "canonical": text,
                "hash": hashlib.sha256(text.encode()).hexdigest()}

    usual = json.dumps({
        "runner": "docker-compose", "name": "app", "manifest_version": 2,
        "docker_compose_file": "services:\n  web:\n    image: nginx\n",
        "bash_script": "echo hello", "pre_launch_script": "", "allowed_envs": ["B", "A"],
        "kms_enabled": True, "public_logs": False, "storage_fs": None,
    }, indent=2)
    script = json.dumps({
        "runner": "bash", "bash_script": "echo", "docker_compose_file": "services: {}",
        "pre_launch_script": "echo first", "nested": {"pre_launch_script": "", "runner": "bash"},
    })
    return [
        case("as written by tools", usual),
        case("normalised for docker-compose", usual, True),
        case("script with a compose file", script),
        case("normalised for bash, inner objects untouched", script, True),
        case("normalised without a runner",
             '{"bash_script":"","docker_compose_file":"","pre_launch_script":""}', True),
        case("normalised with an unknown runner",
             '{"runner":"other","bash_script":"x","docker_compose_file":"y"}', True),
        case("keys sorted at every depth", '{"b":{"d":1,"c":[{"z":1,"y":2}]},"a":0,"B":1,"_":2,"10":3,"9":4}'),
        case("order of arrays kept", '{"a":[3,1,2,[2,1]]}'),
        case("blanks between tokens", '\n{ "a" :\t[ 1 , 2 ] , "b" : { } , "c" : [ ] }\n'),
        case("letters beyond ASCII stay as they are", '{"name":"\u00e4\u6f22\U0001f511","\u00fc":1}'),
        case("escaped letters are written out", '{"name":"\\u00e4\\u6f22\\ud83d\\udd11"}'),
        case("nothing is escaped for HTML", '{"a":"<script>&\'</script>","b":"/ \\/ \u2028 \u2029"}'),
        case("control characters", '{"a":"\\u0000\\u0001\\b\\f\\n\\r\\t\\u001f\\u007f","b":"\\" \\\\"}'),
        case("numbers and words", '{"a":0,"b":-1,"c":0.5,"d":9007199254740991,"e":true,"f":false,"g":null}'),
        case("empty object", "{}"),
        case("values that look like numbers", '{"a":"1.0","b":"1e3","c":"NaN"}'),
    ]


RUNTIME = 134217729


def rtmr():
    def extend(register, digest):
        return hashlib.sha384(register + digest).digest()

    def runtime(name, payload, version=1):
        if version == 1:
            preimage = RUNTIME.to_bytes(4, "little") + b":" + name.encode() + b":" + payload
        else:
            preimage = canonical({"name": name, "payload": payload.hex(), "type": RUNTIME}).encode()
        event = {"imr": 3, "event_type": RUNTIME, "digest": hashlib.sha384(preimage).hexdigest(),
                 "event": name, "event_payload": payload.hex()}
        return event if version == 1 else {**event, "version": 2, "preimage": preimage.hex()}

    def boot(register, text):
        return {"imr": register, "event_type": 10, "digest": hashlib.sha384(text).hexdigest(),
                "event": "", "event_payload": ""}

    def case(name, shown, measured=None):
        registers = [bytes(48)] * 4
        for event in measured or shown:
            registers[event["imr"]] = extend(registers[event["imr"]],
                                             bytes.fromhex(event["digest"]))
        return {"name": name, "event_log": json.dumps(shown),
                "rtmrs": [register.hex() for register in registers]}

    def blank(events):
        kept = [{k: v for k, v in event.items() if k != "preimage"} for event in events]
        return [{**event, "digest": ""} if event["imr"] == 3 else event for event in kept]

    firmware = [boot(0, b"a"), boot(1, b"b"), boot(0, b"c"), boot(2, b"d")]
    one = [runtime("system-preparing", b""), runtime("app-id", APP),
           runtime("compose-hash", bytes([9] * 32)), runtime("system-ready", b"")]
    two = [runtime("app-id", APP, 2), runtime("\u00e4 \"quoted\" \\ \n <&> \u2028", b"\x00\xff", 2)]
    return [
        case("empty log", []),
        case("firmware and runtime events", firmware + one),
        case("runtime events without digests", firmware + blank(one), firmware + one),
        case("runtime events of version 2", firmware + two),
        case("version 2 without digests", blank(two), two),
        case("both versions in one log", firmware + blank(one + two), firmware + one + two),
        case("runtime events before firmware events", one + firmware),
    ]
