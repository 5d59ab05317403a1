// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {KmsAuth} from "../contracts/KmsAuth.sol";
import {IAppAuth} from "../contracts/interfaces/IAppAuth.sol";
import {AppReport} from "./support/AppReport.sol";
import {BylawScript} from "./support/BylawScript.sol";
import {vm} from "./support/Vm.sol";

// Usage: KMS_CONTRACT_ADDR=0x… OS_IMAGE_HASH=0x… forge script script/Query.s.sol:CheckOsImage --rpc-url …
// They read and print; none sends a transaction or needs a key.

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

contract GetKmsSettings is BylawScript {
    function run() external view {
        KmsAuth kms = _kms();
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
    }
}

/// @dev Env of both: APP_ID, COMPOSE_HASH, DEVICE_ID, MR_AGGREGATED, OS_IMAGE_HASH; TCB_STATUS (UpToDate),
/// INSTANCE_ID (0), MR_SYSTEM (0).
abstract contract BootQuery is BylawScript {
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
            advisoryIds: new string[](0)
        });
    }

    function _verdict(bool isAllowed, string memory reason) internal view {
        _say("Allowed:", isAllowed);
        if (!isAllowed) _say(string.concat("Reason: ", reason));
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
