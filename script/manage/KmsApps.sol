// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppManagement} from "../../contracts/interfaces/IAppManagement.sol";
import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {IOwnedProxy} from "../../contracts/interfaces/IOwnedProxy.sol";
import {AppFromEnv} from "../support/AppFromEnv.sol";
import {Operation} from "../support/Operation.sol";
import {vm} from "../support/Vm.sol";

// The KMS contract: which apps exist. Run them as script/Manage.s.sol:NAME.

/// @notice Registers a contract that exists already. Anyone may; after DeregisterApp only the KMS's owner.
/// @dev Env: APP_ADDRESS.
abstract contract RegisterApp is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        address appId = _contractFromEnv("APP_ADDRESS");
        bytes memory call = abi.encodeCall(kms.registerApp, (appId));
        string memory meaning = _text("App registered:", appId);
        if (_isGoverned(address(kms)) && kms.deregisteredApps(appId)) {
            _asOwner(address(kms), call, meaning);
        } else {
            _asAnyone(address(kms), call, meaning);
        }
    }
}

/// @notice Ends an app at the KMS: it gets no more keys. The KMS's owner, the app's owner and the app itself may.
/// @dev Env: APP_ADDRESS.
abstract contract DeregisterApp is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        address appId = vm.envAddress("APP_ADDRESS");
        address[] memory callers = new address[](2);
        callers[0] = _ownerOf(address(kms));
        if (appId.code.length != 0 && _answers(appId, abi.encodeCall(IOwnedProxy.owner, ()))) {
            callers[1] = _ownerOf(appId);
        }
        _perform(
            callers,
            "owner, or the app's owner,",
            address(kms),
            abi.encodeCall(kms.deregisterApp, (appId)),
            _text("App deregistered:", appId)
        );
    }
}

/// @notice Stops the release of an app's keys, whatever its own contract says. The guardian may, too.
/// @dev Env: APP_ADDRESS.
abstract contract PauseAppAtKms is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        address appId = vm.envAddress("APP_ADDRESS");
        bytes memory call = abi.encodeCall(kms.pauseApp, (appId));
        _asGuardian(address(kms), call, _text("App paused at the KMS:", appId));
    }
}

/// @dev Env: APP_ADDRESS.
abstract contract UnpauseAppAtKms is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        address appId = vm.envAddress("APP_ADDRESS");
        bytes memory call = abi.encodeCall(kms.unpauseApp, (appId));
        _asOwner(address(kms), call, _text("App no longer paused at the KMS:", appId));
    }
}

/// @notice Deploys an app's contract through the KMS contract's factory. Anyone may.
/// @dev Env: APP_OWNER (the signer), DISABLE_UPGRADES (false), REQUIRE_TCB_UP_TO_DATE (false),
/// ALLOW_ANY_DEVICE (true), INITIAL_DEVICE_ID (0: none), INITIAL_COMPOSE_HASH (0: none).
/// The address printed is the simulation's: should somebody else's deployment land between the two, the real
/// one is in the receipt's AppDeployedViaFactory event. CreateApp knows it beforehand.
abstract contract DeployApp is Operation {
    function run() external {
        IKmsAuth kms = _kms();
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

/// @notice Creates an app with everything there is to choose, at an address that is known before. Anyone may.
/// @dev Env: SALT (0), DEPLOYER (the signer; a contract is told what to execute); what {AppFromEnv} reads.
abstract contract CreateApp is AppFromEnv {
    function run() external {
        IKmsAuth kms = _kms();
        _requireGoverned(address(kms));
        address[] memory callers = new address[](1);
        callers[0] = vm.envOr("DEPLOYER", _signer());
        bytes32 salt = vm.envOr("SALT", bytes32(0));
        IAppManagement.AppConfig memory config = _appFromEnv(callers[0]);
        address appId = kms.predictApp(callers[0], salt);
        _say("App address:", appId);
        require(appId.code.length == 0, "SALT: this deployer used it before");
        _say("App owner:", config.owner);
        _say("App guardian:", config.guardian);
        _say("App delay in seconds:", uint256(config.delay));
        bytes memory call = abi.encodeCall(kms.createApp, (config, salt));
        _perform(callers, "deployer", address(kms), call, _text("App created and registered:", appId));
    }
}

/// @notice Prints where CreateApp will put an app; sends nothing.
/// @dev Env: SALT (0), DEPLOYER (the signer).
abstract contract PredictApp is Operation {
    function run() external {
        address deployer = vm.envOr("DEPLOYER", _signer());
        bytes32 salt = vm.envOr("SALT", bytes32(0));
        IKmsAuth kms = _kms();
        _requireGoverned(address(kms));
        address appId = kms.predictApp(deployer, salt);
        _say("Deployer:", deployer);
        _say("Salt:", salt);
        _say("App address:", appId);
        _say("Exists already:", appId.code.length != 0);
    }
}
