#!/usr/bin/env bash
# Runs what docs/governance/app-owners.md, users.md and stolen-key.md tell people to run, in that order,
# against a chain of its own, and checks what comes of it. Needs what script/setup installs and a built `bylaw`;
# takes a minute and leaves nothing behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH="${CARGO_TARGET_DIR:-$PWD/target}/debug:$PWD/node_modules/.bin:$PATH"
command -v bylaw >/dev/null || { echo "governance: build bylaw first: cargo build --workspace --bins" >&2; exit 1; }

scratch=$(mktemp -d)
processes=()
cleanup() {
  for process in "${processes[@]}"; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  rm -rf "$scratch"
}
trap cleanup EXIT

# The environment's own settings stay out of it.
export FOUNDRY_BROADCAST="$scratch/broadcast" NO_COLOR=1
unset PRIVATE_KEY ETH_PRIVATE_KEY_FILE ETH_KEYSTORE ETH_PASSWORD ETH_FROM ETH_RPC_URL ETH_CHAIN_ID
unset KMS_CONTRACT_ADDR APP_CONTRACT_ADDR CONTRACT_ADDR DELAY GUARDIAN SALT DEPLOYER APP_OWNER SAFE

output="$scratch/output"
started=$SECONDS
fail() {
  echo "governance: $*" >&2
  [ ! -f "$output" ] || cat "$output" >&2
  exit 1
}
step() { printf '%3d s  %s\n' "$((SECONDS - started))" "$1"; }

# Runs a command of the page; what it printed is kept for `says` and `after`.
ok() { "$@" >"$output" 2>&1 || fail "failed: $*"; }
# Runs a command that must end with this exit code.
exits() {
  local expected=$1 code=0
  shift
  "$@" >"$output" 2>&1 || code=$?
  [ "$code" = "$expected" ] || fail "exit code $code, not $expected: $*"
}
says() { grep -qiF -- "$1" "$output" || fail "not said: $1"; }
silent() { ! grep -qiF -- "$1" "$output" || fail "said: $1"; }
# What was printed after these words.
after() { sed -n "s/^ *$1  *//p" "$output" | head -n 1; }
# `forge script` as the pages run it.
script() { ok env "${@:2}" forge script "script/$1" --rpc-url "$ETH_RPC_URL" --broadcast --slow; }
wait_for() {
  cast rpc --rpc-url "$ETH_RPC_URL" evm_increaseTime "$1" >/dev/null
  cast rpc --rpc-url "$ETH_RPC_URL" evm_mine >/dev/null
}

step "compiling"
forge build --quiet --skip test

# ---------------------------------------------------------------- people, chain, KMS contract

# Port 0: whichever is free. It ends by itself should this script be killed outright.
timeout 600 anvil --host 127.0.0.1 --port 0 >"$scratch/anvil.log" 2>&1 &
processes+=($!)
port=
for _ in $(seq 100); do
  port=$(sed -n 's/^Listening on 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$scratch/anvil.log")
  [ -n "$port" ] && break
  sleep 0.1
done
[ -n "$port" ] || fail "anvil did not start"
export ETH_RPC_URL="http://127.0.0.1:$port" ETH_CHAIN_ID=31337

# Six of anvil's accounts, whose keys everybody knows.
mnemonic="test test test test test test test test test test test junk"
keys="$scratch/keys"
mkdir "$keys"
(umask 077; echo "correct horse" >"$keys/password")
# person NAME INDEX: an encrypted key, and its address.
person() {
  cast wallet import "$1.json" --mnemonic "$mnemonic" --mnemonic-index "$2" --keystore-dir "$keys" \
    --unsafe-password "correct horse" >/dev/null
  cast wallet address --mnemonic "$mnemonic" --mnemonic-index "$2"
}
operator=$(person operator 0)
alice=$(person alice 1)
bob=$(person bob 2)
carol=$(person carol 3)
guardian=$(person guardian 4)
owner=$(person owner 5)
# as NAME COMMAND...: with this person's keystore.
as() {
  local name=$1
  shift
  ETH_KEYSTORE="$keys/$name.json" ETH_PASSWORD="$keys/password" "$@"
}

# Two manifests; they differ in an image.
mkdir "$scratch/composes" "$scratch/proposals"
v1="$scratch/composes/v1.json" v2="$scratch/composes/v2.json"
cp test/vectors/simulator/app-compose.json "$v1"
sed 's/image: ubuntu/image: ubuntu:24.04/' "$v1" >"$v2"
hash_of() { bylaw compose-hash "$1" | sed -n 's/^compose hash *\(0x\)\?/0x/p'; }
v1_hash=$(hash_of "$v1")
v2_hash=$(hash_of "$v2")
now() { cast block latest --field timestamp --rpc-url "$ETH_RPC_URL"; }
os_image=$(cast keccak image)

# propose FILE ARGUMENTS...: a proposal in the directory of proposals.
propose() { ok bylaw gov propose "${@:2}" --out "$scratch/proposals/$1.json"; }
execute() { as "$1" ok bylaw gov execute "$scratch/proposals/$2.json"; }
# Two of the Safe's three signers agree, and somebody pays.
agreed() {
  as alice ok bylaw gov sign "$scratch/proposals/$1.json" --yes
  as bob ok bylaw gov sign "$scratch/proposals/$1.json" --yes
  execute operator "$1"
}
shows() { ok bylaw gov show --app "$app"; says "$1"; }
pending_ids() { bylaw gov pending "$@" | sed -n 's/^ *id //p'; }

# ---------------------------------------------------------------- operators.md

step "the operator deploys the KMS contract, fills its lists, then sets the delay"
as operator script Deploy.s.sol:DeployScript GUARDIAN="$guardian"
KMS_CONTRACT_ADDR=$(after "KmsAuth proxy deployed to:")
export KMS_CONTRACT_ADDR
as operator script Manage.s.sol:BatchKmsSetup OS_IMAGE_LIST="$os_image" MR_AGGREGATED_LIST="$(cast keccak mr)"
as operator script Manage.s.sol:SetKmsNode NODE_ENDPOINT=https://kms.example.com:8000 NODE_PUBLIC_KEY=0x3059
propose delay delay 48h --kms
execute operator delay
propose image os-image "$(cast keccak another)"
execute operator image
says "an OS image is trusted"
ok bylaw gov show --kms
says "https://kms.example.com:8000"
says "2days"
as guardian ok bylaw gov veto --kms "$(pending_ids --kms)"
ok bylaw gov pending --kms
says "nothing"
as operator script Upgrade.s.sol:UpgradeKms
says "Implementation scheduled:"
wait_for 172800
as operator script Upgrade.s.sol:UpgradeKms
says "Implementation now:"

# ---------------------------------------------------------------- app-owners.md: a Safe, an app

step "a Safe, and an app at an address that is known before"
as operator script Safe.s.sol:DeploySafe SAFE_OWNERS="$alice,$bob,$carol" SAFE_THRESHOLD=2
safe=$(after "Safe:")
salt=0x0000000000000000000000000000000000000000000000000000000000000001
as operator ok env SALT="$salt" forge script script/Manage.s.sol:PredictApp --rpc-url "$ETH_RPC_URL"
app=$(after "App address:")
as operator script Manage.s.sol:CreateApp SALT="$salt" APP_OWNER="$safe" GUARDIAN="$guardian" DELAY=172800 \
  INITIAL_COMPOSE_HASH="$v1_hash" NOTE_URI=https://example.com/v1 TEE_VARIANTS=tdx \
  TCB_STATUSES=UpToDate,SWHardeningNeeded
says "App address: $app"
export APP_CONTRACT_ADDR=$app
shows "Safe, 2 of 3"
says "1 active  $v1_hash"

step "a KMS contract is handed over to the Safe, which sets the delay"
first=$KMS_CONTRACT_ADDR
as operator script Deploy.s.sol:DeployScript GUARDIAN="$guardian"
KMS_CONTRACT_ADDR=$(after "KmsAuth proxy deployed to:")
as operator script Manage.s.sol:SetKmsInfo K256_PUBKEY=0x02aa CA_PUBKEY=0x04bb QUOTE=0x040002 EVENTLOG=0x0102
as operator script Safe.s.sol:HandOverToSafe SAFE="$safe" APP_CONTRACT_ADDR=
propose accept-kms accept-ownership --kms
agreed accept-kms
propose delay-kms delay 48h --kms
agreed delay-kms
ok bylaw gov show --kms
says "Safe, 2 of 3"
says "2days"
KMS_CONTRACT_ADDR=$first

step "an upgrade: proposed, reviewed, signed by two, executed by anyone"
propose upgrade version --compose "$v2" --supersede "$v1_hash" --running "$v1" --note https://example.com/v2
says "which retires $v1_hash"
says "-   |     image: ubuntu"
ok bylaw gov review "$scratch/proposals/upgrade.json"
as alice ok bylaw gov sign "$scratch/proposals/upgrade.json" --yes
as operator exits 1 bylaw gov execute "$scratch/proposals/upgrade.json"
says "1 of 2 signatures"
as owner exits 2 bylaw gov sign "$scratch/proposals/upgrade.json" --yes
as bob ok bylaw gov sign "$scratch/proposals/upgrade.json" --yes
says "2 of 2"
execute operator upgrade
says "retiring $v1_hash"
shows "2 pending"
says "1 active  $v1_hash"
wait_for 172800
shows "1 retired  $v1_hash"
says "2 active  $v2_hash"

step "an upgrade with an overlap, and one that is vetoed"
v3="$scratch/composes/v3.json"
sed 's/image: ubuntu/image: ubuntu:26.04/' "$v1" >"$v3"
v3_hash=$(hash_of "$v3")
propose trial version --compose "$v3" --composes "$scratch/composes"
says "+   |     image: ubuntu:26.04"
agreed trial
as guardian ok bylaw gov veto "$(pending_ids)"
shows "3 removed"
propose again version --compose "$v3" --expires-at $(($(now) + 31536000))
agreed again
wait_for 172800
shows "2 active  $v2_hash"
says "4 active until"
propose end expiry --compose "$v2" --expires-at $(($(now) + 3600))
agreed end
shows "2 active until"
wait_for 3600
shows "2 expired since"
propose retire retire --compose "$v2"
agreed retire
shows "2 retired"
propose minimum min-version 4
agreed minimum

step "policy: stricter at once, looser after the delay"
propose policy policy --tcb UpToDate --tcb-grace 7d --any-device false --any-advisory false --max-state-age 30m
agreed policy
says "a looser policy"
shows "policy      TCB statuses: UpToDate"
says "grace for an outdated TCB: none"
propose device device "$(cast keccak device)"
agreed device
propose advisory advisory INTEL-SA-00828
agreed advisory
wait_for 172800
shows "grace for an outdated TCB: 7days"

step "delay, guardian, pause"
propose longer delay 72h
agreed longer
shows "delay       3days"
propose shorter delay 48h
agreed shorter
says "a shorter delay"
propose guardian guardian "$carol"
agreed guardian
as guardian ok bylaw gov pause
shows "PAUSED"
propose resume unpause
agreed resume
wait_for 259200
shows "guardian    $carol"
silent "PAUSED"

step "the app contract's code is upgraded"
as operator script Upgrade.s.sol:UpgradeApp
implementation=$(after "Implementation deployed:")
propose code upgrade "$implementation"
agreed code
says "other code, to be carried out by the owner"
wait_for 259200
propose code-again upgrade "$implementation"
agreed code-again
ok cast implementation --rpc-url "$ETH_RPC_URL" "$app"
says "$implementation"

step "an app of one key is handed over to the Safe"
as owner script Manage.s.sol:CreateApp DELAY=86400 INITIAL_COMPOSE_HASH="$v1_hash"
one_key=$(after "App address:")
propose offer owner "$safe" --app "$one_key"
execute owner offer
wait_for 86400
propose accept accept-ownership --app "$one_key"
agreed accept
ok bylaw gov show --app "$one_key"
says "Safe, 2 of 3"

step "a timelock owns an app"
as owner ok forge create --rpc-url "$ETH_RPC_URL" --broadcast --cache-path "$scratch/cache" --out "$scratch/out" \
  node_modules/@openzeppelin/contracts/governance/TimelockController.sol:TimelockController \
  --constructor-args 86400 "[$owner]" "[$operator]" 0x0000000000000000000000000000000000000000
timelock=$(after "Deployed to:")
as owner script Manage.s.sol:CreateApp APP_OWNER="$timelock" GUARDIAN="$guardian" INITIAL_COMPOSE_HASH="$v1_hash" \
  SALT=0x0000000000000000000000000000000000000000000000000000000000000002
locked=$(after "App address:")
propose locked version --compose "$v2" --app "$locked"
says "(timelock, 1day)"
execute owner locked
says "scheduled"
as operator exits 1 bylaw gov execute "$scratch/proposals/locked.json"
wait_for 86400
execute operator locked
ok bylaw gov show --app "$locked"
says "2 active  $v2_hash"
as guardian ok bylaw gov pause --app "$locked"

# ---------------------------------------------------------------- users.md

step "a user reads the app"
ok cast call --rpc-url "$ETH_RPC_URL" "$KMS_CONTRACT_ADDR" "appImplementation()(address)"
factory=$(cat "$output")
ok cast implementation --rpc-url "$ETH_RPC_URL" "$one_key"
says "$factory"
ok bylaw gov history
says "version 2 retired"
says "scheduled: a version may run: $v3_hash"
ok bylaw gov pending
says "nothing"
vm=(--os-image "$os_image" --device "$(cast keccak device)" --advisory INTEL-SA-00828)
ok bylaw gov simulate --compose "$v3" "${vm[@]}"
says "allowed"
exits 3 bylaw gov simulate --compose "$v1" "${vm[@]}"
exits 3 bylaw gov simulate --compose "$v3" "${vm[@]}" --in 9000h
says "Version 4 ended"
exits 3 bylaw gov simulate --compose "$v3" "${vm[@]}" --tee sev-snp

bylaw gov serve --listen 127.0.0.1:0 --proposals "$scratch/proposals" --composes "$scratch/composes" \
  >"$scratch/serve.log" 2>&1 &
processes+=($!)
page=
for _ in $(seq 100); do
  page=$(sed -n 's/^page *//p' "$scratch/serve.log")
  [ -n "$page" ] && break
  sleep 0.1
done
[ -n "$page" ] || { cat "$scratch/serve.log" >&2; fail "no page"; }
ok curl --silent --fail "${page}api/state"
says "executed"
says "\"name\":\"guest-agent\""

# ---------------------------------------------------------------- stolen-key.md

step "one signer is stolen: a proposal of the thief, and the Safe without him"
propose theirs version --compose "$v1" --app "$one_key"
as alice ok bylaw gov sign "$scratch/proposals/theirs.json" --yes
none=0x0000000000000000000000000000000000000000
call=$(cast calldata "swapOwner(address,address,address)" 0x0000000000000000000000000000000000000001 "$alice" "$owner")
nonce=$(cast call --rpc-url "$ETH_RPC_URL" "$safe" "nonce()(uint256)" | cut -d' ' -f1)
hash=$(cast call --rpc-url "$ETH_RPC_URL" "$safe" \
  "getTransactionHash(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,uint256)(bytes32)" \
  "$safe" 0 "$call" 0 0 0 0 "$none" "$none" "$nonce")
by_bob=$(as bob cast wallet sign --no-hash "$hash")
by_carol=$(as carol cast wallet sign --no-hash "$hash")
# In the order of the signers' addresses: bob is 0x3C44…, carol 0x90F7….
as operator ok cast send --rpc-url "$ETH_RPC_URL" "$safe" \
  "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)" \
  "$safe" 0 "$call" 0 0 0 0 "$none" "$none" "$by_bob${by_carol#0x}"
ok bylaw gov show
says "$owner"
silent "$alice"
as bob ok bylaw gov sign "$scratch/proposals/theirs.json" --yes
as operator exits 1 bylaw gov execute "$scratch/proposals/theirs.json"

step "an owner's key is stolen: paused, vetoed, again and again"
as owner script Manage.s.sol:CreateApp DELAY=172800 GUARDIAN="$guardian" INITIAL_COMPOSE_HASH="$v1_hash" \
  SALT=0x0000000000000000000000000000000000000000000000000000000000000003
robbed=$(after "App address:")
propose evil version --compose "$v2" --app "$robbed"
execute owner evil
propose getaway owner "$bob" --app "$robbed"
execute owner getaway
propose unguard guardian "$none" --app "$robbed"
execute owner unguard
propose fast delay 0s --app "$robbed"
execute owner fast
as guardian ok bylaw gov pause --app "$robbed"
for id in $(pending_ids --app "$robbed"); do as guardian ok bylaw gov veto "$id" --app "$robbed"; done
ok bylaw gov pending --app "$robbed"
says "nothing"
propose unpause unpause --app "$robbed"
execute owner unpause
says "the app resumes"
as guardian ok bylaw gov veto "$(pending_ids --app "$robbed")" --app "$robbed"
wait_for 200000
ok bylaw gov show --app "$robbed"
says "PAUSED"
says "guardian    $guardian"
says "1 active"
silent "2 active"

step "the operator stops it at the KMS, whatever its owner says"
as operator ok bylaw gov pause --at-kms --app "$robbed"
ok bylaw gov propose register "$robbed" --remove --out "$scratch/proposals/deregister.json"
execute operator deregister
ok bylaw gov show --app "$robbed"
says "registered  no"
propose resume-there raw --kms "$(cast calldata "unpauseApp(address)" "$robbed")"
says "resume app"
execute operator resume-there
as guardian ok bylaw gov veto --kms "$(pending_ids --kms)"

ok bylaw gov pending --kms
says "nothing"
ok bylaw gov history --kms
says "app deregistered"

step "an app is left as it is for ever"
propose give-up raw --app "$robbed" "$(cast calldata "renounceOwnership()")"
says "GIVE UP THE OWNERSHIP FOR GOOD"
execute owner give-up
ok bylaw gov show --app "$robbed"
says "owner       nobody"

step "everything passed"
