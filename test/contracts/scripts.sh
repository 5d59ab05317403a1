#!/usr/bin/env bash
# Runs every Foundry script against a chain of its own and checks what it says and what it did.
# Needs what script/setup installs; takes about 20 seconds and leaves nothing behind.
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
unset PRIVATE_KEY ETH_RPC_URL ETH_FROM KMS_CONTRACT_ADDR APP_CONTRACT_ADDR APP_IMPLEMENTATION

# ---------------------------------------------------------------- the chain

# Two of anvil's well-known accounts.
deployer=0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266
deployer_key=0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80
somebody=0x70997970C51812dc3A010C7d01b50e0d17dc79C8
somebody_key=0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d

# Port 0: whichever is free. It ends by itself should this script be killed outright.
timeout 300 anvil --host 127.0.0.1 --port 0 >"$scratch/anvil.log" 2>&1 &
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
refused "OwnableUnauthorizedAccount" Manage AddOsImage PRIVATE_KEY="$somebody_key" OS_IMAGE_HASH="$(hash image)"

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
refused "OwnableUnauthorizedAccount" Upgrade UpgradeKms PRIVATE_KEY="$somebody_key"
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

# ---------------------------------------------------------------- nothing forgotten

while read -r contract; do
  grep -qE "(send|query|run|refused .*) ([A-Z][a-z]+ )?$contract\b" "${BASH_SOURCE[0]}" ||
    { echo "scripts: $contract is not tested here" >&2; exit 1; }
  checks=$((checks + 1))
done < <(sed -n 's/^contract \([A-Za-z0-9]*\) is .*/\1/p' script/*.s.sol)

echo "scripts: $checks checks passed in $SECONDS s"
