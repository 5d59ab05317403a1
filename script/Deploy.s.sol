// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {AppAuth} from "../contracts/AppAuth.sol";
import {KmsAuth} from "../contracts/KmsAuth.sol";
import {BylawScript} from "./support/BylawScript.sol";
import {vm} from "./support/Vm.sol";

// Usage: [PRIVATE_KEY=0x…] forge script script/Deploy.s.sol:DeployScript --rpc-url … --broadcast
// Whoever signs owns the new KMS contract; hand it on with transferOwnership and acceptOwnership.

abstract contract Deployment is BylawScript {
    function _deployAppImplementation() internal returns (address implementation) {
        implementation = address(new AppAuth());
        _say("AppAuth implementation deployed to:", implementation);
    }

    function _deployKms(address owner, address appImplementation) internal {
        address implementation = address(new KmsAuth());
        _say("KmsAuth implementation deployed to:", implementation);
        bytes memory initialization = abi.encodeCall(KmsAuth.initialize, (owner, appImplementation));
        address proxy = address(new ERC1967Proxy(implementation, initialization));
        _say("KmsAuth proxy deployed to:", proxy);
        _say("KmsAuth owner:", owner);
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
