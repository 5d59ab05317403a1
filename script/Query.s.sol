// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuth} from "../contracts/interfaces/IAppAuth.sol";
import {Facts, IAppPolicy, RuleVerdict} from "../contracts/interfaces/IAppPolicy.sol";
import {IAppReading} from "../contracts/interfaces/IAppReading.sol";
import {IKmsAuth} from "../contracts/interfaces/IKmsAuth.sol";
import {IKmsTypes} from "../contracts/interfaces/IKmsTypes.sol";
import {IManagedAppAuth} from "../contracts/interfaces/IManagedAppAuth.sol";
import {AppReport} from "./support/AppReport.sol";
import {BylawScript} from "./support/BylawScript.sol";
import {vm} from "./support/Vm.sol";

// Usage: KMS_CONTRACT_ADDR=0x… OS_IMAGE_HASH=0x… forge script script/Query.s.sol:CheckOsImage --rpc-url …
// They read and print; none sends a transaction or needs a key. dstack's contracts are answered for as far as they
// know the question.

// ---------------------------------------------------------------- KMS

/// @dev Env: MR_AGGREGATED.
contract CheckKmsAggregatedMr is BylawScript {
    function run() external view {
        bytes32 mrAggregated = vm.envBytes32("MR_AGGREGATED");
        _say("KMS aggregated MR:", mrAggregated);
        _say("Allowed:", _kms().kmsAllowedAggregatedMrs(mrAggregated));
    }
}

/// @dev Env: DEVICE_ID.
contract CheckKmsDevice is BylawScript {
    function run() external view {
        bytes32 deviceId = vm.envBytes32("DEVICE_ID");
        _say("KMS device:", deviceId);
        _say("Allowed:", _kms().kmsAllowedDeviceIds(deviceId));
    }
}

/// @dev Env: OS_IMAGE_HASH.
contract CheckOsImage is BylawScript {
    function run() external view {
        bytes32 osImageHash = vm.envBytes32("OS_IMAGE_HASH");
        _say("OS image:", osImageHash);
        _say("Allowed:", _kms().allowedOsImages(osImageHash));
    }
}

/// @dev Env: APP_ADDRESS.
contract CheckAppRegistration is BylawScript {
    function run() external view {
        address appId = vm.envAddress("APP_ADDRESS");
        _say("App:", appId);
        _say("Registered:", _kms().registeredApps(appId));
        _say("Has code:", appId.code.length != 0);
    }
}

contract GetKmsSettings is AppReport {
    function run() external view {
        IKmsAuth kms = _kms();
        (bytes memory k256Pubkey, bytes memory caPubkey, bytes memory quote, bytes memory eventlog) =
            kms.kmsInfo();
        _say("KMS:", address(kms));
        _say("Implementation:", _implementationOf(address(kms)));
        _say("Owner:", kms.owner());
        _say("Pending owner:", kms.pendingOwner());
        _say("App implementation:", kms.appImplementation());
        _say(string.concat("Gateway app id: ", kms.gatewayAppId()));
        _say(string.concat("k256 public key: ", vm.toString(k256Pubkey)));
        _say(string.concat("CA public key: ", vm.toString(caPubkey)));
        _say(string.concat("Quote: ", vm.toString(quote.length), " bytes"));
        _say(string.concat("Event log: ", vm.toString(eventlog.length), " bytes"));
        if (!_reportGovernance(address(kms))) return;
        _say("Upgrades disabled:", kms.upgradesDisabled());
    }
}

/// @notice Where the KMS's nodes answer.
contract GetKmsNodes is AppReport {
    function run() external view {
        IKmsAuth kms = _kms();
        if (!_saidGoverned(address(kms))) {
            _say("Nodes: it keeps no roster");
            return;
        }
        (bytes32[] memory ids, IKmsTypes.KmsNode[] memory nodes) = kms.kmsNodes();
        _say("Nodes:", ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            _say("Node id:", ids[i]);
            _say(string.concat("  endpoint: ", nodes[i].endpoint));
            _say(string.concat("  public key: ", vm.toString(nodes[i].publicKey)));
            _say("  evidence hash:", nodes[i].evidenceHash);
        }
    }
}

// ---------------------------------------------------------------- The two questions

/// @dev Env of all: APP_ID, COMPOSE_HASH, DEVICE_ID, MR_AGGREGATED, OS_IMAGE_HASH; TCB_STATUS (UpToDate),
/// ADVISORY_IDS (none; with commas between them), INSTANCE_ID (0), MR_SYSTEM (0).
abstract contract BootQuery is AppReport {
    function _bootInfo() internal view returns (IAppAuth.AppBootInfo memory) {
        return IAppAuth.AppBootInfo({
            appId: vm.envAddress("APP_ID"),
            composeHash: vm.envBytes32("COMPOSE_HASH"),
            instanceId: vm.envOr("INSTANCE_ID", address(0)),
            deviceId: vm.envBytes32("DEVICE_ID"),
            mrAggregated: vm.envBytes32("MR_AGGREGATED"),
            mrSystem: vm.envOr("MR_SYSTEM", bytes32(0)),
            osImageHash: vm.envBytes32("OS_IMAGE_HASH"),
            tcbStatus: vm.envOr("TCB_STATUS", string("UpToDate")),
            advisoryIds: _isSet("ADVISORY_IDS")
                ? vm.split(vm.envString("ADVISORY_IDS"), ",")
                : new string[](0)
        });
    }

    function _verdict(bool isAllowed, string memory reason) internal view {
        _say("Allowed:", isAllowed);
        if (!isAllowed) _say(string.concat("Reason: ", reason));
    }

    /// @dev All rules, then what follows from them.
    function _verdicts(RuleVerdict[] memory verdicts, uint64 time) internal view {
        string memory first = "";
        bool isAllowed = true;
        _say(string.concat("At: ", _time(time, "now")));
        for (uint256 i = 0; i < verdicts.length; i++) {
            string memory word = verdicts[i].passed ? "passed" : string.concat("FAILED: ", verdicts[i].reason);
            _say(string.concat("Rule ", verdicts[i].rule, ": ", word));
            if (!verdicts[i].passed && isAllowed) (isAllowed, first) = (false, verdicts[i].reason);
        }
        _verdict(isAllowed, first);
    }
}

/// @notice Whether a KMS instance with this identity may hold the root key.
contract CheckKmsAllowed is BootQuery {
    function run() external view {
        (bool isAllowed, string memory reason) = _kms().isKmsAllowed(_bootInfo());
        _verdict(isAllowed, reason);
    }
}

/// @notice Whether an app's VM with this identity may have the app's keys.
contract CheckAppAllowed is BootQuery {
    function run() external view {
        (bool isAllowed, string memory reason) = _kms().isAppAllowed(_bootInfo());
        _verdict(isAllowed, reason);
    }
}

/// @notice {CheckKmsAllowed} rule by rule, now or later.
/// @dev Env besides: AT (now), Unix seconds.
contract ExplainKms is BootQuery {
    function run() external view {
        IKmsAuth kms = _kms();
        if (_saidGoverned(address(kms))) {
            uint64 time = _uint64("AT", 0);
            _verdicts(kms.explainKms(_bootInfo(), time), time);
        } else {
            _say("At: now; it tells only the first rule that fails");
            (bool isAllowed, string memory reason) = kms.isKmsAllowed(_bootInfo());
            _verdict(isAllowed, reason);
        }
    }
}

/// @notice {CheckAppAllowed} rule by rule, now or later, with all that a KMS knows.
/// @dev Env besides: AT (now), TIME of the KMS's clock (AT, or now), both Unix seconds; TEE_VARIANT (unknown; a name
/// as in {PolicyText}), TCB_OUTDATED_SINCE (unknown), GPU_ATTESTED (false).
contract ExplainApp is BootQuery {
    function run() external view {
        IKmsAuth kms = _kms();
        if (!_saidGoverned(address(kms))) {
            _say("At: now; it tells only the first rule that fails");
            (bool isAllowed, string memory reason) = kms.isAppAllowed(_bootInfo());
            _verdict(isAllowed, reason);
            return;
        }
        IAppAuth.AppBootInfo memory bootInfo = _bootInfo();
        if (bootInfo.appId.code.length != 0) _saidGoverned(bootInfo.appId);
        uint64 time = _uint64("AT", 0);
        uint64 clock = time == 0 ? uint64(block.timestamp) : time;
        Facts memory facts = Facts({
            time: _uint64("TIME", clock),
            teeVariant: _isSet("TEE_VARIANT") ? _teeVariants(vm.envString("TEE_VARIANT")) : 0,
            tcbOutdatedSince: _uint64("TCB_OUTDATED_SINCE", 0),
            gpuAttested: vm.envOr("GPU_ATTESTED", false)
        });
        _verdicts(IAppPolicy(address(kms)).explain(bootInfo, facts, time), time);
    }
}

// ---------------------------------------------------------------- Both contracts

/// @notice What waits: from when it holds, and the id to veto it by.
/// @dev Env: CONTRACT_ADDR, or KMS_CONTRACT_ADDR or APP_CONTRACT_ADDR alone.
contract GetPending is AppReport {
    function run() external view {
        address target = _either();
        _say("Contract:", target);
        if (!_reportGovernance(target)) return;
        _reportPending(target);
    }
}

// ---------------------------------------------------------------- App

/// @dev Env: COMPOSE_HASH.
contract CheckComposeHash is BylawScript {
    function run() external view {
        bytes32 composeHash = vm.envBytes32("COMPOSE_HASH");
        _say("Compose hash:", composeHash);
        _say("Allowed:", _app().allowedComposeHashes(composeHash));
    }
}

/// @dev Env: DEVICE_ID.
contract CheckAppDevice is BylawScript {
    function run() external view {
        bytes32 deviceId = vm.envBytes32("DEVICE_ID");
        bool anyDevice = _app().allowAnyDevice();
        _say("Device:", deviceId);
        _say("Any device allowed:", anyDevice);
        _say("Listed:", _app().allowedDeviceIds(deviceId));
        _say("Allowed:", anyDevice || _app().allowedDeviceIds(deviceId));
    }
}

contract GetAppSettings is AppReport {
    function run() external view {
        _report(_app());
    }
}

/// @notice Every version, those that wait and those that are over too.
/// @dev Env: AT (now), Unix seconds.
contract GetVersions is AppReport {
    function run() external view {
        IManagedAppAuth app = _app();
        _say("App:", address(app));
        if (!_saidGoverned(address(app))) {
            _say("Versions: it keeps a set of compose hashes, which CheckComposeHash asks");
            return;
        }
        uint64 time = _uint64("AT", 0);
        _say(string.concat("At: ", _time(time, "now")));
        _say("Smallest version that may run:", uint256(app.minVersion()));
        _say("Versions frozen:", app.versionsFrozen());
        IAppReading.VersionInfo[] memory versions = app.versions(1, app.versionCount(), time);
        for (uint256 i = 0; i < versions.length; i++) {
            IAppReading.VersionInfo memory version = versions[i];
            string memory line = string.concat("Version ", vm.toString(uint256(version.number)), " ");
            line = _text(string.concat(line, version.state), version.composeHash);
            line = _text(string.concat(line, " from"), uint256(version.activatesAt));
            line = string.concat(line, " until ", _time(version.expiresAt, "ever"));
            _say(bytes(version.noteUri).length == 0 ? line : string.concat(line, " ", version.noteUri));
        }
    }
}

/// @notice What an app demands of where it runs.
/// @dev Env: AT (now), Unix seconds.
contract GetPolicy is AppReport {
    function run() external view {
        IManagedAppAuth app = _app();
        _say("App:", address(app));
        if (!_saidGoverned(address(app))) {
            _say("Any device allowed:", app.allowAnyDevice());
            if (_answers(address(app), abi.encodeCall(app.requireTcbUpToDate, ()))) {
                _say("TCB must be up to date:", app.requireTcbUpToDate());
            }
            return;
        }
        uint64 time = _uint64("AT", 0);
        _say(string.concat("At: ", _time(time, "now")));
        _sayPolicy(app.policy(time));
        _say("Paused:", app.paused());
    }
}

// ---------------------------------------------------------------- Storage

/// @dev Env: TARGET_ADDRESS, STORAGE_SLOT.
contract GetStorageSlot is BylawScript {
    function run() external view {
        address target = vm.envAddress("TARGET_ADDRESS");
        bytes32 slot = vm.envBytes32("STORAGE_SLOT");
        bytes32 value = vm.load(target, slot);
        _say("Contract:", target);
        _say("Slot:", slot);
        _say("Value:", value);
        _say("As address:", address(uint160(uint256(value))));
    }
}
