#!/usr/bin/env bash
# Runs every Foundry script against a chain of its own and checks what it says and what it did.
# Needs what script/setup installs; takes two minutes and leaves nothing behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH="$PWD/node_modules/.bin:$PATH"

scratch=$(mktemp -d)
anvil=
cleanup() {
  if [ -n "$anvil" ]; then
    kill "$anvil" 2>/dev/null || true
    wait "$anvil" 2>/dev/null || true
  fi
  rm -rf "$scratch"
}
trap cleanup EXIT

# Receipts and the environment's own settings stay out of it.
export FOUNDRY_BROADCAST="$scratch/broadcast" NO_COLOR=1
unset PRIVATE_KEY ETH_RPC_URL ETH_FROM KMS_CONTRACT_ADDR APP_CONTRACT_ADDR CONTRACT_ADDR APP_IMPLEMENTATION
unset DELAY GUARDIAN SALT DEPLOYER IMPLEMENTATION

# What a script needs is compiled now, so that no script waits for it.
forge build --quiet

# ---------------------------------------------------------------- the chain

# Three of anvil's well-known accounts.
deployer=0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266
deployer_key=0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80
somebody=0x70997970C51812dc3A010C7d01b50e0d17dc79C8
somebody_key=0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d
guardian=0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC
guardian_key=0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a

# Port 0: whichever is free. It ends by itself should this script be killed outright.
timeout 1200 anvil --host 127.0.0.1 --port 0 >"$scratch/anvil.log" 2>&1 &
anvil=$!
port=
for _ in $(seq 100); do
  port=$(sed -n 's/^Listening on 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$scratch/anvil.log")
  [ -n "$port" ] && break
  sleep 0.1
done
[ -n "$port" ] || { cat "$scratch/anvil.log" >&2; echo "scripts: anvil did not start" >&2; exit 1; }
rpc="http://127.0.0.1:$port"

# ---------------------------------------------------------------- running and checking

checks=0
output="$scratch/output"

fail() {
  echo "scripts: $*" >&2
  cat "$output" >&2
  exit 1
}

# run FILE CONTRACT [VARIABLE=VALUE ...] [-- forge flags]: runs one script; its output is kept for `says`.
run() {
  local file=$1 contract=$2
  shift 2
  local variables=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do variables+=("$1"); shift; done
  [ $# -gt 0 ] && shift
  name=$contract
  env "${variables[@]}" timeout 60 forge script "script/$file.s.sol:$contract" --rpc-url "$rpc" "$@" \
    >"$output" 2>&1
}

send() { run "$@" -- --broadcast || fail "$2 failed"; }
query() { run Query "$@" || fail "$1 failed"; }

# The script printed this line.
says() {
  grep -qxF "  $1" "$output" || fail "$name did not say: $1"
  checks=$((checks + 1))
}

# The script fails with this text and sends nothing.
refused() {
  local reason=$1 before
  shift
  before=$(cast block-number --rpc-url "$rpc")
  if run "$@" -- --broadcast; then fail "$name should have failed"; fi
  grep -qF "$reason" "$output" || fail "$name did not give the reason: $reason"
  [ "$before" = "$(cast block-number --rpc-url "$rpc")" ] || fail "$name sent a transaction"
  checks=$((checks + 1))
}

# What the script printed after these words.
said() { sed -n "s/^  $1 //p" "$output"; }

# holds ADDRESS SIGNATURE [ARGUMENTS] = VALUE
holds() {
  local call=() actual
  while [ "$1" != = ]; do call+=("$1"); shift; done
  actual=$(cast call --rpc-url "$rpc" "${call[@]}")
  [ "$actual" = "$2" ] || fail "after $name: ${call[*]} is $actual, not $2"
  checks=$((checks + 1))
}

hash() { cast keccak "$1"; }

# Lets the chain's clock run on by that many seconds.
wait_for() {
  cast rpc --rpc-url "$rpc" evm_increaseTime "$1" >/dev/null
  cast rpc --rpc-url "$rpc" evm_mine >/dev/null
}

# pending ADDRESS: how many changes wait.
pending() { cast call --rpc-url "$rpc" "$1" "pendingChanges()((bytes32,bytes32,bytes32,uint64,bytes)[])" | grep -o '(0x' | wc -l; }

# The script scheduled something: `id` and `until` are what it said of it.
scheduled() {
  says "Scheduled: $1"
  id=$(said "Change id:")
  until=$(said "Pending until:")
  if [ -z "$id" ] || [ -z "$until" ]; then fail "$name did not say what waits until when"; fi
}

# ---------------------------------------------------------------- Deploy

export PRIVATE_KEY=$deployer_key
send Deploy DeployScript
says "KmsAuth owner: $deployer"
kms=$(said "KmsAuth proxy deployed to:")
first_implementation=$(said "AppAuth implementation deployed to:")
holds "$kms" "owner()(address)" = "$deployer"
holds "$kms" "appImplementation()(address)" = "$first_implementation"

# The key without 0x, as some wallets export it.
PRIVATE_KEY=${deployer_key#0x} send Deploy DeployAppOnly
implementation=$(said "AppAuth implementation deployed to:")
holds "$implementation" "version()(uint256)" = 2

send Deploy DeployKmsOnly APP_IMPLEMENTATION="$implementation"
holds "$(said "KmsAuth proxy deployed to:")" "appImplementation()(address)" = "$implementation"
send Deploy DeployKmsOnly APP_IMPLEMENTATION=0x0000000000000000000000000000000000000000
says "App implementation of the factory: 0x0000000000000000000000000000000000000000"
refused "APP_IMPLEMENTATION: no contract at" Deploy DeployKmsOnly APP_IMPLEMENTATION="$somebody"
refused "APP_IMPLEMENTATION" Deploy DeployKmsOnly

# ---------------------------------------------------------------- Manage: KMS

refused "KMS_CONTRACT_ADDR" Manage AddOsImage OS_IMAGE_HASH="$(hash image)"
refused "KMS_CONTRACT_ADDR: no contract at" Manage AddOsImage \
  KMS_CONTRACT_ADDR="$somebody" OS_IMAGE_HASH="$(hash image)"
export KMS_CONTRACT_ADDR=$kms
refused "OS_IMAGE_HASH" Manage AddOsImage
refused "the key of $deployer is needed" Manage AddOsImage PRIVATE_KEY="$somebody_key" OS_IMAGE_HASH="$(hash image)"

# Without --broadcast nothing is sent.
run Manage AddOsImage OS_IMAGE_HASH="$(hash image)" || fail "AddOsImage failed"
holds "$kms" "allowedOsImages(bytes32)(bool)" "$(hash image)" = false

send Manage AddKmsAggregatedMr MR_AGGREGATED="$(hash mr)"
says "KMS aggregated MR allowed: $(hash mr)"
query CheckKmsAggregatedMr MR_AGGREGATED="$(hash mr)"
says "Allowed: true"
send Manage RemoveKmsAggregatedMr MR_AGGREGATED="$(hash mr)"
says "KMS aggregated MR no longer allowed: $(hash mr)"
query CheckKmsAggregatedMr MR_AGGREGATED="$(hash mr)"
says "Allowed: false"

send Manage AddOsImage OS_IMAGE_HASH="$(hash image)"
says "OS image allowed: $(hash image)"
query CheckOsImage OS_IMAGE_HASH="$(hash image)"
says "Allowed: true"
send Manage RemoveOsImage OS_IMAGE_HASH="$(hash image)"
says "OS image no longer allowed: $(hash image)"
query CheckOsImage OS_IMAGE_HASH="$(hash image)"
says "Allowed: false"

send Manage AddKmsDevice DEVICE_ID="$(hash device)"
says "KMS device allowed: $(hash device)"
query CheckKmsDevice DEVICE_ID="$(hash device)"
says "Allowed: true"
send Manage RemoveKmsDevice DEVICE_ID="$(hash device)"
says "KMS device no longer allowed: $(hash device)"
query CheckKmsDevice DEVICE_ID="$(hash device)"
says "Allowed: false"

send Manage SetGatewayAppId GATEWAY_APP_ID="a gateway"
says "Gateway app id set: a gateway"
send Manage SetKmsInfo K256_PUBKEY=0x02aa CA_PUBKEY=0x04bb QUOTE=0x040002 EVENTLOG=0x0102
says "KMS info set, k256 public key: 0x02aa"
holds "$kms" "kmsInfo()(bytes,bytes,bytes,bytes)" = $'0x02aa\n0x04bb\n0x040002\n0x0102'
send Manage SetKmsInfo K256_PUBKEY=0x03cc CA_PUBKEY=0x04bb QUOTE=0x040002
holds "$kms" "kmsInfo()(bytes,bytes,bytes,bytes)" = $'0x03cc\n0x04bb\n0x040002\n0x'

send Manage SetAppImplementation APP_IMPLEMENTATION="$implementation"
says "App implementation set: $implementation"
holds "$kms" "appImplementation()(address)" = "$implementation"

refused "nothing to set" Manage BatchKmsSetup
send Manage BatchKmsSetup GATEWAY_APP_ID=gateway MR_AGGREGATED_LIST="$(hash mr),$(hash mr2)" \
  OS_IMAGE_LIST="$(hash image)" DEVICE_LIST="$(hash device),$(hash device2)"
says "KMS aggregated MR allowed: $(hash mr2)"
says "KMS device allowed: $(hash device2)"
holds "$kms" "gatewayAppId()(string)" = '"gateway"'
holds "$kms" "kmsAllowedAggregatedMrs(bytes32)(bool)" "$(hash mr)" = true
holds "$kms" "kmsAllowedAggregatedMrs(bytes32)(bool)" "$(hash mr2)" = true
holds "$kms" "allowedOsImages(bytes32)(bool)" "$(hash image)" = true
holds "$kms" "kmsAllowedDeviceIds(bytes32)(bool)" "$(hash device2)" = true
send Manage BatchKmsSetup DEVICE_LIST="$(hash device3)"
holds "$kms" "gatewayAppId()(string)" = '"gateway"'
holds "$kms" "kmsAllowedDeviceIds(bytes32)(bool)" "$(hash device3)" = true

query GetKmsSettings
says "KMS: $kms"
says "Owner: $deployer"
says "App implementation: $implementation"
says "Gateway app id: gateway"
says "k256 public key: 0x03cc"
says "Quote: 3 bytes"
says "Event log: 0 bytes"

# ---------------------------------------------------------------- Manage: apps

# By forge's own wallet flags; the defaults.
PRIVATE_KEY='' run Manage DeployApp -- --broadcast --private-key "$somebody_key" || fail "DeployApp failed"
says "AppAuth owner: $somebody"
app=$(said "AppAuth proxy deployed and registered at:")
holds "$kms" "registeredApps(address)(bool)" "$app" = true
holds "$app" "owner()(address)" = "$somebody"
holds "$app" "allowAnyDevice()(bool)" = true
holds "$app" "requireTcbUpToDate()(bool)" = false

send Manage DeployApp APP_OWNER="$deployer" DISABLE_UPGRADES=true REQUIRE_TCB_UP_TO_DATE=true \
  ALLOW_ANY_DEVICE=false INITIAL_DEVICE_ID="$(hash device)" INITIAL_COMPOSE_HASH="$(hash compose)"
frozen=$(said "AppAuth proxy deployed and registered at:")
APP_CONTRACT_ADDR=$frozen query GetAppSettings
says "Owner: $deployer"
says "Any device allowed: false"
says "TCB must be up to date: true"
says "Upgrades disabled: true"
holds "$frozen" "allowedDeviceIds(bytes32)(bool)" "$(hash device)" = true
holds "$frozen" "allowedComposeHashes(bytes32)(bool)" "$(hash compose)" = true
send Manage DeployApp
app=$(said "AppAuth proxy deployed and registered at:")
holds "$app" "owner()(address)" = "$deployer"

query CheckAppRegistration APP_ADDRESS="$implementation"
says "Registered: false"
send Manage RegisterApp APP_ADDRESS="$implementation"
says "App registered: $implementation"
query CheckAppRegistration APP_ADDRESS="$implementation"
says "Registered: true"
says "Has code: true"
refused "APP_ADDRESS: no contract at" Manage RegisterApp APP_ADDRESS="$somebody"

refused "APP_CONTRACT_ADDR" Manage AddComposeHash COMPOSE_HASH="$(hash compose)"
export APP_CONTRACT_ADDR=$app
send Manage AddComposeHash COMPOSE_HASH="$(hash compose)"
says "Compose hash allowed: $(hash compose)"
query CheckComposeHash COMPOSE_HASH="$(hash compose)"
says "Allowed: true"

send Manage SetAllowAnyDevice ALLOW_ANY_DEVICE=false
says "Any device allowed: false"
query CheckAppDevice DEVICE_ID="$(hash device)"
says "Allowed: false"
send Manage AddDevice DEVICE_ID="$(hash device)"
says "Device allowed: $(hash device)"
query CheckAppDevice DEVICE_ID="$(hash device)"
says "Listed: true"
says "Allowed: true"

# ---------------------------------------------------------------- the two questions

boot=(APP_ID="$app" COMPOSE_HASH="$(hash compose)" DEVICE_ID="$(hash device)" MR_AGGREGATED="$(hash mr)"
  OS_IMAGE_HASH="$(hash image)")
query CheckKmsAllowed "${boot[@]}"
says "Allowed: true"
query CheckKmsAllowed "${boot[@]}" TCB_STATUS=OutOfDate
says "Allowed: false"
says "Reason: TCB status is not up to date"
query CheckKmsAllowed "${boot[@]}" MR_AGGREGATED="$(hash unknown)" INSTANCE_ID="$somebody" MR_SYSTEM="$(hash system)"
says "Reason: Aggregated MR not allowed"
query CheckAppAllowed "${boot[@]}" TCB_STATUS=OutOfDate
says "Allowed: true"
query CheckAppAllowed "${boot[@]}" COMPOSE_HASH="$(hash unknown)"
says "Allowed: false"
says "Reason: Compose hash not allowed"
query CheckAppAllowed "${boot[@]}" APP_ID="$somebody"
says "Reason: App not registered"

send Manage RemoveComposeHash COMPOSE_HASH="$(hash compose)"
says "Compose hash no longer allowed: $(hash compose)"
query CheckComposeHash COMPOSE_HASH="$(hash compose)"
says "Allowed: false"
send Manage RemoveDevice DEVICE_ID="$(hash device)"
says "Device no longer allowed: $(hash device)"
query CheckAppDevice DEVICE_ID="$(hash device)"
says "Listed: false"

# ---------------------------------------------------------------- Upgrade

send Upgrade UpgradeKms
says "KmsAuth proxy: $kms"
now=$(said "Implementation now:")
query GetStorageSlot TARGET_ADDRESS="$kms" \
  STORAGE_SLOT=0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc
says "As address: $now"
holds "$kms" "gatewayAppId()(string)" = '"gateway"'

send Upgrade UpgradeApp
says "Implementation before: $implementation"
now=$(said "Implementation now:")
query GetStorageSlot TARGET_ADDRESS="$app" \
  STORAGE_SLOT=0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc
says "As address: $now"

refused "not a KMS contract" Upgrade UpgradeKms KMS_CONTRACT_ADDR="$app"
refused "not an app contract" Upgrade UpgradeApp APP_CONTRACT_ADDR="$kms"
refused "not an ERC-1967 proxy" Upgrade UpgradeApp APP_CONTRACT_ADDR="$implementation"
refused "the key of $deployer is needed" Upgrade UpgradeKms PRIVATE_KEY="$somebody_key"
refused "Upgrades are permanently disabled" Upgrade UpgradeApp APP_CONTRACT_ADDR="$frozen"

# An earliest app contract: it answers the getters of today, and appId() besides.
earliest=0x0000000000000000000000000000000000Ea4713
cast rpc --rpc-url "$rpc" anvil_setCode "$earliest" \
  "$(forge inspect EarliestDstackApp deployedBytecode)" >/dev/null
cast rpc --rpc-url "$rpc" anvil_setStorageAt "$earliest" \
  0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc "$(cast to-uint256 1)" >/dev/null
refused "not an app contract" Upgrade UpgradeApp APP_CONTRACT_ADDR="$earliest"

send Manage DisableAppUpgrades
says "Upgrades disabled for good: $app"
run Manage ShowAppInfo || fail "ShowAppInfo failed"
says "App: $app"
says "Version: 2"
says "Upgrades disabled: true"
refused "Upgrades are permanently disabled" Upgrade UpgradeApp

# ---------------------------------------------------------------- delay and guardian

# From the start.
send Deploy DeployKmsOnly APP_IMPLEMENTATION="$implementation" DELAY=3600 GUARDIAN="$guardian"
says "KmsAuth delay in seconds: 3600"
says "KmsAuth guardian: $guardian"
slow=$(said "KmsAuth proxy deployed to:")
holds "$slow" "delay()(uint32)" = 3600
holds "$slow" "guardian()(address)" = "$guardian"
refused "DELAY: more than 4294967295" Deploy DeployScript DELAY=4294967296

export KMS_CONTRACT_ADDR=$slow
send Manage AddOsImage OS_IMAGE_HASH="$(hash image)"
scheduled "OS image allowed: $(hash image)"
holds "$slow" "allowedOsImages(bytes32)(bool)" "$(hash image)" = false
query GetPending CONTRACT_ADDR="$slow"
says "Delay in seconds: 3600"
says "Pending changes: 1"
says "Change id: $id"
says "  what: os-image $(hash image)"
query ExplainKms APP_ID="$app" COMPOSE_HASH="$(hash compose)" DEVICE_ID="$(hash device)" \
  MR_AGGREGATED="$(hash mr)" OS_IMAGE_HASH="$(hash image)" AT="$((until + 60))"
says "At: $((until + 60))"
says "Rule OS image: passed"
says "Rule aggregated measurement: FAILED: Aggregated MR not allowed"
says "Reason: Aggregated MR not allowed"

refused "the key of $deployer or $guardian is needed" Manage Veto CONTRACT_ADDR="$slow" \
  PRIVATE_KEY="$somebody_key" CHANGE_ID="$id"
send Manage Veto CONTRACT_ADDR="$slow" PRIVATE_KEY="$guardian_key" CHANGE_ID="$id"
says "Change vetoed: $id"
says "Dropped change id: $id"
says "In effect: now"
[ "$(pending "$slow")" = 0 ] || fail "the vetoed change still waits"
refused "NotPending" Manage Veto CONTRACT_ADDR="$slow" CHANGE_ID="$id"

send Manage AddOsImage OS_IMAGE_HASH="$(hash image)"
wait_for 3600
query CheckOsImage OS_IMAGE_HASH="$(hash image)"
says "Allowed: true"
send Manage Settle CONTRACT_ADDR="$slow" PRIVATE_KEY="$somebody_key"
says "Settled: $slow"
send Manage RemoveOsImage OS_IMAGE_HASH="$(hash image)"
says "In effect: now"

refused "CONTRACT_ADDR: give the contract that is meant" Manage SetDelay DELAY=7200
send Manage SetDelay CONTRACT_ADDR="$slow" DELAY=7200
says "Delay in seconds: 7200"
says "In effect: now"
APP_CONTRACT_ADDR='' send Manage SetDelay DELAY=60
scheduled "Delay in seconds: 60"
refused "DelayTooLong" Manage SetDelay CONTRACT_ADDR="$slow" DELAY=99999999
refused "DELAY" Manage SetDelay CONTRACT_ADDR="$slow"
send Manage SetGuardian CONTRACT_ADDR="$slow" GUARDIAN="$somebody"
scheduled "Guardian: $somebody"
send Manage SetGuardian CONTRACT_ADDR="$slow" GUARDIAN="$guardian"
says "Guardian: $guardian"
says "Dropped change id: $id"

# An upgrade in two runs, the second of which waits as long as it must.
send Upgrade UpgradeKms
scheduled "Implementation: $(said "Implementation deployed:")"
says "Implementation scheduled: $(said "Implementation deployed:")"
next=$(said "Implementation deployed:")
send Upgrade UpgradeKms
says "Implementation scheduled: $next"
[ -n "$(said "Nothing is sent: the upgrade waits. Pending until:")" ] || fail "UpgradeKms did not say until when"
wait_for 7200
send Upgrade UpgradeKms
says "The upgrade was scheduled, and its time has come: it is carried out."
says "Implementation now: $next"
send Upgrade UpgradeKms IMPLEMENTATION="$next"
scheduled "Implementation: $next"
send Manage DisableKmsUpgrades
says "Upgrades disabled for good: $slow"
says "Dropped change id: $id"
refused "Upgrades are permanently disabled" Upgrade UpgradeKms
query GetKmsSettings
says "Upgrades disabled: true"
says "Delay in seconds: 60"

# An owner to owner transfer.
send Manage TransferOwnership CONTRACT_ADDR="$slow" NEW_OWNER="$somebody"
scheduled "Ownership offered to: $somebody"
refused "NotYet" Manage AcceptOwnership CONTRACT_ADDR="$slow" PRIVATE_KEY="$somebody_key"
refused "the key of $somebody is needed" Manage AcceptOwnership CONTRACT_ADDR="$slow"
wait_for 60
send Manage AcceptOwnership CONTRACT_ADDR="$slow" PRIVATE_KEY="$somebody_key"
says "Owner: $somebody"
holds "$slow" "owner()(address)" = "$somebody"

# ---------------------------------------------------------------- what the KMS publishes

export KMS_CONTRACT_ADDR=$kms
send Manage SetKmsQuote QUOTE=0x0a0b0c0d
says "KMS quote set, bytes: 4"
send Manage SetKmsEventlog EVENTLOG=0x0e0f
says "KMS event log set, bytes: 2"
holds "$kms" "kmsInfo()(bytes,bytes,bytes,bytes)" = $'0x03cc\n0x04bb\n0x0a0b0c0d\n0x0e0f'

node=https://kms.example:8443
send Manage SetKmsNode NODE_ENDPOINT="$node" NODE_PUBLIC_KEY=0x3059 NODE_EVIDENCE_HASH="$(hash evidence)"
says "KMS node on the roster: $node, id $(hash $node)"
query GetKmsNodes
says "Nodes: 1"
says "Node id: $(hash $node)"
says "  endpoint: $node"
says "  public key: 0x3059"
says "  evidence hash: $(hash evidence)"
send Manage RemoveKmsNode NODE_ENDPOINT="$node"
says "KMS node no longer on the roster, id $(hash $node)"
refused "UnknownKmsNode" Manage RemoveKmsNode NODE_ID="$(hash $node)"

# ---------------------------------------------------------------- an app from the factory

predict() { run Manage PredictApp SALT="$(hash salt)" || fail "PredictApp failed"; }
predict
says "Deployer: $deployer"
says "Exists already: false"
predicted=$(said "App address:")
send Manage CreateApp SALT="$(hash salt)" DELAY=3600 GUARDIAN="$guardian" TEE_VARIANTS=tdx,sev-snp \
  TCB_STATUSES=UpToDate,SWHardeningNeeded TCB_GRACE_PERIOD=86400 ALLOW_ANY_DEVICE=false ANY_ADVISORY=false \
  DEVICE_LIST="$(hash device),$(hash device2)" INITIAL_COMPOSE_HASH="$(hash one)" NOTE_URI=https://notes.example/1
says "App address: $predicted"
says "App created and registered: $predicted"
says "App delay in seconds: 3600"
holds "$kms" "registeredApps(address)(bool)" "$predicted" = true
predict
says "Exists already: true"
refused "SALT: this deployer used it before" Manage CreateApp SALT="$(hash salt)"
refused "unknown TEE variant: tdz" Manage CreateApp SALT="$(hash other)" TEE_VARIANTS=tdx,tdz
refused "unknown TCB status: Uptodate" Manage CreateApp SALT="$(hash other)" TCB_STATUSES=Uptodate
export APP_CONTRACT_ADDR=$predicted

query GetPolicy
says "Any device allowed: false"
says "TEE variants: tdx,sev-snp"
says "TCB statuses: UpToDate,SWHardeningNeeded"
says "TCB grace period in seconds: 86400"
says "Any advisory tolerated: false"
says "Maximum age of the chain state in seconds: left to the KMS"
query GetAppSettings
says "Guardian: $guardian"
says "Versions: 1"

# ---------------------------------------------------------------- versions

send Manage AddVersion COMPOSE_HASH="$(hash two)" NOTE_URI=https://notes.example/2
scheduled "Version added: $(hash two)"
# dstack's call says nothing about what waits already; the script does.
send Manage AddComposeHash COMPOSE_HASH="$(hash two)"
scheduled "Compose hash allowed: $(hash two)"
query GetVersions
grep -qE "^  Version 1 active $(hash one) from [0-9]+ until ever https://notes.example/1$" "$output" ||
  fail "GetVersions did not tell version 1"
grep -qE "^  Version 2 pending $(hash two) from [0-9]+ until ever https://notes.example/2$" "$output" ||
  fail "GetVersions did not tell version 2"
later=$(($(cast block --rpc-url "$rpc" -f timestamp) + 1000000))
send Manage AddVersion COMPOSE_HASH="$(hash three)" NOT_BEFORE="$later" EXPIRES_AT="$((later + 1000))"
scheduled "Version added: $(hash three)"
[ "$until" = "$later" ] || fail "version 3 does not wait until $later"
refused "BadExpiry" Manage AddVersion COMPOSE_HASH="$(hash four)" EXPIRES_AT=1
send Manage RetireVersion COMPOSE_HASH="$(hash three)"
says "Version retired for good: $(hash three)"
says "Dropped change id: $id"
refused "VersionIsRetired" Manage AddVersion COMPOSE_HASH="$(hash three)"

send Manage Supersede OLD_COMPOSE_HASH="$(hash one)" NEW_COMPOSE_HASH="$(hash four)"
scheduled "Version $(hash one) superseded by $(hash four)"
query GetPending CONTRACT_ADDR="$predicted"
says "  what: compose-hash $(hash four), which retires $(hash one)"
query GetVersions AT="$((until + 60))"
grep -qE "^  Version 1 retired " "$output" || fail "GetVersions AT does not tell that version 1 is over"
wait_for 3600
query CheckComposeHash COMPOSE_HASH="$(hash four)"
says "Allowed: true"
query CheckComposeHash COMPOSE_HASH="$(hash one)"
says "Allowed: false"
send Manage SetVersionExpiry COMPOSE_HASH="$(hash four)" EXPIRES_AT="$later"
says "Version $(hash four) ends at $later"
send Manage SetMinVersion MIN_VERSION=3
says "Smallest version that may run: 3"
refused "BadMinVersion" Manage SetMinVersion MIN_VERSION=1

# ---------------------------------------------------------------- policy

# Stricter at once, looser later, in one call; what is not named stays.
send Manage SetPolicy MAX_STATE_AGE=600 TCB_GRACE_PERIOD=172800
grep -qF "  Scheduled: Policy set: anyDevice false, teeVariants tdx,sev-snp, tcbStatuses UpToDate,SWHardeningNeeded," \
  "$output" || fail "SetPolicy did not say what is scheduled"
says "Maximum age of the chain state in seconds: 600"
says "TCB grace period in seconds: 86400"
query GetPolicy AT="$(($(said "Pending until:") + 60))"
says "Maximum age of the chain state in seconds: 600"
says "TCB grace period in seconds: 172800"
send Manage SetPolicy REQUIRE_GPU=true TEE_VARIANTS=tdx
grep -qF "  This replaces the policy that waits: " "$output" || fail "SetPolicy did not say what it replaces"
says "GPU attestation required: true"
says "In effect: now"
send Manage SetPolicy REQUIRE_GPU=false
grep -qF "  Scheduled: Policy set: " "$output" || fail "SetPolicy did not say that it waits"
send Manage SetRequireTcbUpToDate REQUIRE_TCB_UP_TO_DATE=true
grep -qF "TCB must be up to date: true" "$output" || fail "SetRequireTcbUpToDate did not say what it did"
send Manage SetAdvisoryTolerated ADVISORY=INTEL-SA-00828 TOLERATED=true
scheduled "Advisory INTEL-SA-00828 tolerated: true"
refused "ADVISORY: longer than 32" Manage SetAdvisoryTolerated ADVISORY="$(hash long)" TOLERATED=true
wait_for 3600
holds "$predicted" "toleratedAdvisories(bytes32)(bool)" "$(cast format-bytes32-string INTEL-SA-00828)" = true

explain=(APP_ID="$predicted" COMPOSE_HASH="$(hash four)" DEVICE_ID="$(hash device)" MR_AGGREGATED="$(hash mr)"
  OS_IMAGE_HASH="$(hash image)")
query ExplainApp "${explain[@]}" TEE_VARIANT=tdx ADVISORY_IDS=INTEL-SA-00828
says "Allowed: true"
query ExplainApp "${explain[@]}" TCB_STATUS=OutOfDate TCB_OUTDATED_SINCE=1 ADVISORY_IDS=INTEL-SA-1,INTEL-SA-2
says "Rule registered: passed"
grep -qF "FAILED: TEE variant is not known" "$output" || fail "ExplainApp did not judge the TEE variant"
grep -qF "FAILED: Advisory INTEL-SA-1 is not tolerated" "$output" || fail "ExplainApp did not judge the advisories"
says "Allowed: false"
says "Reason: TCB status is not up to date"
query ExplainApp "${explain[@]}" TEE_VARIANT=tdx GPU_ATTESTED=true TIME=1 AT="$later"
says "Reason: Version 4 ended at $later"
query ExplainApp "${explain[@]}" TEE_VARIANT=sev-snp
says "Reason: TEE variant is not allowed"

# ---------------------------------------------------------------- pause

refused "the key of $deployer or $guardian is needed" Manage PauseApp PRIVATE_KEY="$somebody_key"
send Manage PauseApp PRIVATE_KEY="$guardian_key"
says "App paused: $predicted"
says "In effect: now"
holds "$predicted" "paused()(bool)" = true
refused "the key of $deployer is needed" Manage UnpauseApp PRIVATE_KEY="$guardian_key"
send Manage UnpauseApp
scheduled "App no longer paused: $predicted"
send Manage FreezeVersions
says "Versions frozen for good: $predicted"
refused "VersionListIsFrozen" Manage AddVersion COMPOSE_HASH="$(hash five)"

send Manage PauseAppAtKms APP_ADDRESS="$predicted"
says "App paused at the KMS: $predicted"
holds "$kms" "pausedApps(address)(bool)" "$predicted" = true
send Manage UnpauseAppAtKms APP_ADDRESS="$predicted"
says "App no longer paused at the KMS: $predicted"
refused "is needed" Manage DeregisterApp APP_ADDRESS="$predicted" PRIVATE_KEY="$somebody_key"
send Manage DeregisterApp APP_ADDRESS="$predicted"
says "App deregistered: $predicted"
holds "$kms" "registeredApps(address)(bool)" "$predicted" = false
refused "the key of $deployer is needed" Manage RegisterApp APP_ADDRESS="$predicted" PRIVATE_KEY="$somebody_key"
send Manage RegisterApp APP_ADDRESS="$predicted"
says "App registered: $predicted"

# ---------------------------------------------------------------- a Safe as owner

refused "SAFE_THRESHOLD" Safe DeploySafe SAFE_OWNERS="$deployer" SAFE_THRESHOLD=2
send Safe DeploySafe SAFE_OWNERS="$deployer,$somebody,$guardian" SAFE_THRESHOLD=2
says "Safe threshold: 2"
says "Safe owner: $somebody"
safe=$(said "Safe:")
holds "$safe" "isOwner(address)(bool)" "$guardian" = true
holds "$safe" "VERSION()(string)" = '"1.5.0"'
# Another one from the same contracts.
send Safe DeploySafe SAFE_OWNERS="$somebody" SAFE_THRESHOLD=1 SAFE_SINGLETON="$(said "Safe singleton:")" \
  SAFE_FACTORY="$(said "Safe proxy factory:")" SAFE_FALLBACK_HANDLER="$(said "Safe fallback handler:")" \
  SAFE_MULTISEND="$(said "Safe MultiSend:")" SAFE_SALT_NONCE=7
[ "$(said "Safe:")" != "$safe" ] || fail "the second Safe is the first one"

# execute TARGET CALLDATA: the Safe makes the call, signed by two of its owners in the order of their addresses.
execute() {
  local nonce digest signatures
  nonce=$(cast call --rpc-url "$rpc" "$safe" "nonce()(uint256)")
  digest=$(cast call --rpc-url "$rpc" "$safe" \
    "getTransactionHash(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,uint256)(bytes32)" \
    "$1" 0 "$2" 0 0 0 0 "$zero" "$zero" "$nonce")
  signatures=$(cast wallet sign --no-hash --private-key "$somebody_key" "$digest")
  signatures+=$(cast wallet sign --no-hash --private-key "$deployer_key" "$digest" | cut -c3-)
  cast send --rpc-url "$rpc" --private-key "$guardian_key" "$safe" \
    "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)" \
    "$1" 0 "$2" 0 0 0 0 "$zero" "$zero" "$signatures" >"$output" 2>&1
}
zero=0x0000000000000000000000000000000000000000

# The script sent nothing, and the Safe executes what it printed.
handed() {
  local before
  before=$(cast block-number --rpc-url "$rpc")
  send "$@"
  [ "$before" = "$(cast block-number --rpc-url "$rpc")" ] || fail "$name sent a transaction"
  says "Caller: $safe (a Safe, 2 of 3 signatures)"
  says "Value: 0"
}
executed() {
  local target calldata
  target=$(said "Target:")
  calldata=$(said "Calldata:")
  execute "$target" "$calldata" || fail "the Safe could not execute what $name printed"
}

send Manage CreateApp SALT="$(hash safe)" DELAY=3600 GUARDIAN="$guardian" INITIAL_COMPOSE_HASH="$(hash one)"
app=$(said "App address:")
export APP_CONTRACT_ADDR=$app
refused "SAFE: not a Safe" Safe HandOverToSafe SAFE="$kms"
KMS_CONTRACT_ADDR='' APP_CONTRACT_ADDR='' refused "nothing to hand over" Safe HandOverToSafe SAFE="$safe"
send Safe HandOverToSafe SAFE="$safe"
says "Ownership of $kms offered to $safe"
says "Scheduled: Ownership of $app offered to $safe"
says "Accept from: at once"
says "Accept from: $(said "Pending until:")"
accept=$(said "Accept calldata:" | head -n 1)
execute "$kms" "$accept" || fail "the Safe could not accept the KMS contract"
holds "$kms" "owner()(address)" = "$safe"
if execute "$app" "$accept"; then fail "the Safe accepted before the delay was over"; fi
wait_for 3600
CONTRACT_ADDR=$app handed Manage AcceptOwnership
executed
holds "$app" "owner()(address)" = "$safe"
send Safe HandOverToSafe SAFE="$safe"
says "The Safe owns it already: $kms"

handed Manage AddOsImage OS_IMAGE_HASH="$(hash image9)"
says "Target: $kms"
says "Calldata: $(cast calldata "addOsImageHash(bytes32)" "$(hash image9)")"
says "Meaning: OS image allowed: $(hash image9)"
says "Executed now, it would give:"
says "In effect: now"
holds "$kms" "allowedOsImages(bytes32)(bool)" "$(hash image9)" = false
executed
holds "$kms" "allowedOsImages(bytes32)(bool)" "$(hash image9)" = true

handed Manage Supersede OLD_COMPOSE_HASH="$(hash one)" NEW_COMPOSE_HASH="$(hash two)"
scheduled "Version $(hash one) superseded by $(hash two)"
[ "$(pending "$app")" = 0 ] || fail "Supersede was not only printed"
executed
[ "$(pending "$app")" = 1 ] || fail "the Safe's Supersede does not wait"
# The guardian's own key goes first; another signer is told what the Safe can do.
handed Manage Veto CONTRACT_ADDR="$app" CHANGE_ID="$id" PRIVATE_KEY="$somebody_key"
says "Caller: $guardian (a key)"
send Manage Veto CONTRACT_ADDR="$app" CHANGE_ID="$id" PRIVATE_KEY="$guardian_key"
[ "$(pending "$app")" = 0 ] || fail "the guardian's veto did not drop the change"

handed Manage RetireVersion COMPOSE_HASH="$(hash unknown)"
grep -qF "Executed now, it would FAIL: $(cast sig "UnknownVersion(bytes32)")" "$output" ||
  fail "RetireVersion did not say that it would fail"

# An implementation that anybody deploys, and that only the Safe can choose.
run Upgrade UpgradeApp PRIVATE_KEY="$somebody_key" -- --broadcast || fail "UpgradeApp failed"
next=$(said "Implementation deployed:")
scheduled "Implementation: $next"
executed
handed_nothing=$(cast block-number --rpc-url "$rpc")
send Upgrade UpgradeApp
says "Implementation scheduled: $next"
wait_for 3600
send Upgrade UpgradeApp
executed
[ "$handed_nothing" -lt "$(cast block-number --rpc-url "$rpc")" ] || fail "the chain stood still"
query GetStorageSlot TARGET_ADDRESS="$app" \
  STORAGE_SLOT=0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc
says "As address: $next"

# An app that the Safe creates: its address depends on the Safe, not on who prints the call.
run Manage PredictApp DEPLOYER="$safe" || fail "PredictApp failed"
predicted=$(said "App address:")
handed Manage CreateApp DEPLOYER="$safe"
says "App address: $predicted"
says "App owner: $safe"
executed
holds "$predicted" "owner()(address)" = "$safe"

# ---------------------------------------------------------------- a timelock as owner

timelock=$(forge create --rpc-url "$rpc" --private-key "$deployer_key" --broadcast \
  node_modules/@openzeppelin/contracts/governance/TimelockController.sol:TimelockController \
  --constructor-args 600 "[$deployer]" "[$deployer]" "$zero" 2>&1 | sed -n 's/^Deployed to: //p')
[ -n "$timelock" ] || fail "no timelock"
export KMS_CONTRACT_ADDR=$slow
send Manage TransferOwnership CONTRACT_ADDR="$slow" NEW_OWNER="$timelock" PRIVATE_KEY="$somebody_key"
wait_for 60
through_timelock() {
  local schedule execute
  schedule=$(said "Timelock schedule calldata:")
  execute=$(said "Timelock execute calldata:")
  cast send --rpc-url "$rpc" --private-key "$deployer_key" "$timelock" "$schedule" >/dev/null
  if cast send --rpc-url "$rpc" --private-key "$deployer_key" "$timelock" "$execute" >/dev/null 2>&1; then
    fail "the timelock did not wait"
  fi
  wait_for 600
  cast send --rpc-url "$rpc" --private-key "$deployer_key" "$timelock" "$execute" >/dev/null
}
send Manage AcceptOwnership CONTRACT_ADDR="$slow"
says "Caller: $timelock (a timelock of 600 seconds)"
through_timelock
holds "$slow" "owner()(address)" = "$timelock"
send Manage RemoveOsImage OS_IMAGE_HASH="$(hash image9)" TIMELOCK_SALT="$(hash again)"
says "Meaning: OS image no longer allowed: $(hash image9)"
through_timelock

# ---------------------------------------------------------------- dstack's contracts

# Contracts that answer dstack's getters and nothing else.
dstack_kms=0x00000000000000000000000000000000000d57a0
dstack_app=0x00000000000000000000000000000000000d57a1
cast rpc --rpc-url "$rpc" anvil_setCode "$dstack_kms" "$(forge inspect DstackKmsAbi deployedBytecode)" >/dev/null
cast rpc --rpc-url "$rpc" anvil_setCode "$dstack_app" "$(forge inspect DstackAppAbi deployedBytecode)" >/dev/null
export KMS_CONTRACT_ADDR=$dstack_kms APP_CONTRACT_ADDR=$dstack_app
dstack() { says "$(cast to-check-sum-address "$1") is a dstack contract: no delay, no guardian"; }
query GetKmsSettings
dstack "$dstack_kms"
query GetAppSettings
dstack "$dstack_app"
says "Version: 2"
query GetPending CONTRACT_ADDR="$dstack_kms"
dstack "$dstack_kms"
query GetKmsNodes
dstack "$dstack_kms"
query GetVersions
dstack "$dstack_app"
query GetPolicy
dstack "$dstack_app"
says "TCB must be up to date: true"
query ExplainApp "${explain[@]}"
dstack "$dstack_kms"
says "Reason: dstack says no"
query ExplainKms "${explain[@]}"
dstack "$dstack_kms"
says "Reason: dstack says no"
send Manage AddOsImage OS_IMAGE_HASH="$(hash image)"
says "OS image allowed: $(hash image)"
says "In effect: now"
refused "the contract may not know it" Manage RetireVersion COMPOSE_HASH="$(hash compose)"
refused "a dstack contract, without delay and guardian" Manage SetPolicy MAX_STATE_AGE=60
refused "a dstack contract, without delay and guardian" Manage CreateApp
refused "a dstack contract, without delay and guardian" Manage Veto CONTRACT_ADDR="$dstack_kms" CHANGE_ID="$(hash id)"

# ---------------------------------------------------------------- nothing forgotten

while read -r contract; do
  grep -qE "(send|query|run|refused .*) ([A-Z][a-z]+ )?$contract\b" "${BASH_SOURCE[0]}" ||
    { echo "scripts: $contract is not tested here" >&2; exit 1; }
  checks=$((checks + 1))
done < <(sed -n 's/^contract \([A-Za-z0-9]*\) is .*/\1/p' script/*.s.sol)

echo "scripts: $checks checks passed in $SECONDS s"
