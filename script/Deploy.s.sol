// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {AppAuth} from "../contracts/AppAuth.sol";
import {IKmsAuth} from "../contracts/interfaces/IKmsAuth.sol";
import {KmsAuth} from "../contracts/KmsAuth.sol";
import {BylawScript} from "./support/BylawScript.sol";
import {vm} from "./support/Vm.sol";

// Usage: [PRIVATE_KEY=0x…] forge script script/Deploy.s.sol:DeployScript --rpc-url … --broadcast
// Whoever signs owns the new KMS contract; hand it on with Safe's HandOverToSafe or Manage's TransferOwnership.
// Env of the first two, each optional: DELAY (seconds that widenings wait, 0), GUARDIAN (who may veto, nobody).

abstract contract Deployment is BylawScript {
    function _deployAppImplementation() internal returns (address implementation) {
        implementation = address(new AppAuth());
        _say("AppAuth implementation deployed to:", implementation);
    }

    function _deployKms(address owner, address appImplementation) internal {
        address implementation = address(new KmsAuth());
        _say("KmsAuth implementation deployed to:", implementation);
        bytes memory initialization = _initialization(owner, appImplementation);
        address proxy = address(new ERC1967Proxy(implementation, initialization));
        _say("KmsAuth proxy deployed to:", proxy);
        _say("KmsAuth owner:", owner);
        _say("KmsAuth delay in seconds:", uint256(IKmsAuth(proxy).delay()));
        _say("KmsAuth guardian:", IKmsAuth(proxy).guardian());
    }

    /// @dev Env: DELAY (0), GUARDIAN (0: nobody).
    function _initialization(address owner, address appImplementation) private view returns (bytes memory) {
        uint32 delay = _uint32("DELAY", 0);
        address guardian = vm.envOr("GUARDIAN", address(0));
        if (delay == 0 && guardian == address(0)) {
            return abi.encodeWithSignature("initialize(address,address)", owner, appImplementation);
        }
        return abi.encodeWithSignature(
            "initialize(address,address,uint32,address)", owner, appImplementation, delay, guardian
        );
    }
}

/// @notice The KMS contract behind a proxy, with an app implementation for its factory.
contract DeployScript is Deployment {
    function run() external {
        address deployer = _startBroadcast();
        _deployKms(deployer, _deployAppImplementation());
        vm.stopBroadcast();
    }
}

/// @notice The KMS contract alone.
/// @dev Env: APP_IMPLEMENTATION (0 leaves the factory closed until SetAppImplementation).
contract DeployKmsOnly is Deployment {
    function run() external {
        address appImplementation = vm.envAddress("APP_IMPLEMENTATION");
        if (appImplementation != address(0)) _contractFromEnv("APP_IMPLEMENTATION");
        address deployer = _startBroadcast();
        _deployKms(deployer, appImplementation);
        vm.stopBroadcast();
        _say("App implementation of the factory:", appImplementation);
    }
}

/// @notice An app implementation alone, for SetAppImplementation or DeployKmsOnly.
contract DeployAppOnly is Deployment {
    function run() external broadcasts {
        _deployAppImplementation();
    }
}
