// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppAuth} from "../contracts/AppAuth.sol";
import {KmsAuth} from "../contracts/KmsAuth.sol";
import {IKmsAuth} from "../contracts/interfaces/IKmsAuth.sol";
import {AppReport} from "./support/AppReport.sol";
import {BylawScript} from "./support/BylawScript.sol";
import {vm} from "./support/Vm.sol";

// Usage: KMS_CONTRACT_ADDR=0x… OS_IMAGE_HASH=0x… [PRIVATE_KEY=0x…] \
//          forge script script/Manage.s.sol:AddOsImage --rpc-url … --broadcast
// Scripts of the KMS read KMS_CONTRACT_ADDR, scripts of an app APP_CONTRACT_ADDR; what else each one reads is
// said at each. Without --broadcast the call is simulated only. Running one twice changes nothing more.

// ---------------------------------------------------------------- KMS

/// @dev Env: MR_AGGREGATED.
contract AddKmsAggregatedMr is BylawScript {
    function run() external broadcasts {
        bytes32 mrAggregated = vm.envBytes32("MR_AGGREGATED");
        _kms().addKmsAggregatedMr(mrAggregated);
        _say("KMS aggregated MR allowed:", mrAggregated);
    }
}

/// @dev Env: MR_AGGREGATED.
contract RemoveKmsAggregatedMr is BylawScript {
    function run() external broadcasts {
        bytes32 mrAggregated = vm.envBytes32("MR_AGGREGATED");
        _kms().removeKmsAggregatedMr(mrAggregated);
        _say("KMS aggregated MR no longer allowed:", mrAggregated);
    }
}

/// @dev Env: OS_IMAGE_HASH.
contract AddOsImage is BylawScript {
    function run() external broadcasts {
        bytes32 osImageHash = vm.envBytes32("OS_IMAGE_HASH");
        _kms().addOsImageHash(osImageHash);
        _say("OS image allowed:", osImageHash);
    }
}

/// @dev Env: OS_IMAGE_HASH.
contract RemoveOsImage is BylawScript {
    function run() external broadcasts {
        bytes32 osImageHash = vm.envBytes32("OS_IMAGE_HASH");
        _kms().removeOsImageHash(osImageHash);
        _say("OS image no longer allowed:", osImageHash);
    }
}

/// @dev Env: DEVICE_ID.
contract AddKmsDevice is BylawScript {
    function run() external broadcasts {
        bytes32 deviceId = vm.envBytes32("DEVICE_ID");
        _kms().addKmsDevice(deviceId);
        _say("KMS device allowed:", deviceId);
    }
}

/// @dev Env: DEVICE_ID.
contract RemoveKmsDevice is BylawScript {
    function run() external broadcasts {
        bytes32 deviceId = vm.envBytes32("DEVICE_ID");
        _kms().removeKmsDevice(deviceId);
        _say("KMS device no longer allowed:", deviceId);
    }
}

/// @dev Env: GATEWAY_APP_ID.
contract SetGatewayAppId is BylawScript {
    function run() external broadcasts {
        string memory gatewayAppId = vm.envString("GATEWAY_APP_ID");
        _kms().setGatewayAppId(gatewayAppId);
        _say(string.concat("Gateway app id set: ", gatewayAppId));
    }
}

/// @dev Env: K256_PUBKEY, CA_PUBKEY, QUOTE; EVENTLOG (empty). All hex.
contract SetKmsInfo is BylawScript {
    function run() external broadcasts {
        IKmsAuth.KmsInfo memory info = IKmsAuth.KmsInfo({
            k256Pubkey: vm.envBytes("K256_PUBKEY"),
            caPubkey: vm.envBytes("CA_PUBKEY"),
            quote: vm.envBytes("QUOTE"),
            eventlog: vm.envOr("EVENTLOG", bytes(""))
        });
        _kms().setKmsInfo(info);
        _say(string.concat("KMS info set, k256 public key: ", vm.toString(info.k256Pubkey)));
    }
}

/// @dev Env: APP_IMPLEMENTATION.
contract SetAppImplementation is BylawScript {
    function run() external broadcasts {
        address implementation = _contractFromEnv("APP_IMPLEMENTATION");
        _kms().setAppImplementation(implementation);
        _say("App implementation set:", implementation);
    }
}

/// @notice Registers a contract that exists already. Anyone may.
/// @dev Env: APP_ADDRESS.
contract RegisterApp is BylawScript {
    function run() external broadcasts {
        address appId = _contractFromEnv("APP_ADDRESS");
        _kms().registerApp(appId);
        _say("App registered:", appId);
    }
}

/// @notice Deploys an app's contract through the KMS contract's factory. Anyone may.
/// @dev Env: APP_OWNER (the signer), DISABLE_UPGRADES (false), REQUIRE_TCB_UP_TO_DATE (false),
/// ALLOW_ANY_DEVICE (true), INITIAL_DEVICE_ID (0: none), INITIAL_COMPOSE_HASH (0: none).
/// The address printed is the simulation's: should somebody else's deployment land between the two, the real
/// one is in the receipt's AppDeployedViaFactory event.
contract DeployApp is BylawScript {
    function run() external {
        KmsAuth kms = _kms();
        address signer = _startBroadcast();
        address owner = vm.envOr("APP_OWNER", signer);
        address appId = kms.deployAndRegisterApp(
            owner,
            vm.envOr("DISABLE_UPGRADES", false),
            vm.envOr("REQUIRE_TCB_UP_TO_DATE", false),
            vm.envOr("ALLOW_ANY_DEVICE", true),
            vm.envOr("INITIAL_DEVICE_ID", bytes32(0)),
            vm.envOr("INITIAL_COMPOSE_HASH", bytes32(0))
        );
        vm.stopBroadcast();
        _say("AppAuth proxy deployed and registered at:", appId);
        _say("AppAuth owner:", owner);
    }
}

/// @notice The settings of a new KMS in one run.
/// @dev Env, each optional: GATEWAY_APP_ID; MR_AGGREGATED_LIST, OS_IMAGE_LIST, DEVICE_LIST (hashes with commas
/// between them).
contract BatchKmsSetup is BylawScript {
    function run() external {
        KmsAuth kms = _kms();
        string memory gatewayAppId = vm.envOr("GATEWAY_APP_ID", string(""));
        bytes32[] memory measurements = _list("MR_AGGREGATED_LIST");
        bytes32[] memory images = _list("OS_IMAGE_LIST");
        bytes32[] memory devices = _list("DEVICE_LIST");
        require(
            bytes(gatewayAppId).length + measurements.length + images.length + devices.length != 0,
            "nothing to set: give GATEWAY_APP_ID, MR_AGGREGATED_LIST, OS_IMAGE_LIST or DEVICE_LIST"
        );

        _startBroadcast();
        if (bytes(gatewayAppId).length != 0) {
            kms.setGatewayAppId(gatewayAppId);
            _say(string.concat("Gateway app id set: ", gatewayAppId));
        }
        for (uint256 i = 0; i < measurements.length; i++) {
            kms.addKmsAggregatedMr(measurements[i]);
            _say("KMS aggregated MR allowed:", measurements[i]);
        }
        for (uint256 i = 0; i < images.length; i++) {
            kms.addOsImageHash(images[i]);
            _say("OS image allowed:", images[i]);
        }
        for (uint256 i = 0; i < devices.length; i++) {
            kms.addKmsDevice(devices[i]);
            _say("KMS device allowed:", devices[i]);
        }
        vm.stopBroadcast();
    }

    function _list(string memory name) private view returns (bytes32[] memory) {
        if (bytes(vm.envOr(name, string(""))).length == 0) return new bytes32[](0);
        return vm.envOr(name, ",", new bytes32[](0));
    }
}

// ---------------------------------------------------------------- App

/// @dev Env: COMPOSE_HASH.
contract AddComposeHash is BylawScript {
    function run() external broadcasts {
        bytes32 composeHash = vm.envBytes32("COMPOSE_HASH");
        _app().addComposeHash(composeHash);
        _say("Compose hash allowed:", composeHash);
    }
}

/// @dev Env: COMPOSE_HASH.
contract RemoveComposeHash is BylawScript {
    function run() external broadcasts {
        bytes32 composeHash = vm.envBytes32("COMPOSE_HASH");
        _app().removeComposeHash(composeHash);
        _say("Compose hash no longer allowed:", composeHash);
    }
}

/// @dev Env: DEVICE_ID.
contract AddDevice is BylawScript {
    function run() external broadcasts {
        bytes32 deviceId = vm.envBytes32("DEVICE_ID");
        _app().addDevice(deviceId);
        _say("Device allowed:", deviceId);
    }
}

/// @dev Env: DEVICE_ID.
contract RemoveDevice is BylawScript {
    function run() external broadcasts {
        bytes32 deviceId = vm.envBytes32("DEVICE_ID");
        _app().removeDevice(deviceId);
        _say("Device no longer allowed:", deviceId);
    }
}

/// @dev Env: ALLOW_ANY_DEVICE.
contract SetAllowAnyDevice is BylawScript {
    function run() external broadcasts {
        bool allowAnyDevice = vm.envBool("ALLOW_ANY_DEVICE");
        _app().setAllowAnyDevice(allowAnyDevice);
        _say("Any device allowed:", allowAnyDevice);
    }
}

/// @notice Gives up upgrades of the app's contract. Nothing undoes it.
contract DisableAppUpgrades is BylawScript {
    function run() external broadcasts {
        AppAuth app = _app();
        app.disableUpgrades();
        _say("Upgrades disabled for good:", address(app));
    }
}

/// @notice Prints an app's settings; sends nothing.
contract ShowAppInfo is AppReport {
    function run() external view {
        _report(_app());
    }
}
