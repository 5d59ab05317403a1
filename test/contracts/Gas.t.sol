// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IKmsTypes} from "../../contracts/interfaces/IKmsTypes.sol";
import {AppAuth} from "../../contracts/AppAuth.sol";
import {KmsAuth} from "../../contracts/KmsAuth.sol";
import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {BylawTest} from "./support/BylawTest.sol";
import {vm} from "./support/TestVm.sol";

/// @notice What each call costs, one a test, for `.gas-snapshot`: `forge snapshot --match-contract GasTest`
/// writes it and `--check` compares.
contract GasTest is BylawTest {
    IAppAuth.AppBootInfo private boot;

    function setUp() public override {
        super.setUp();
        boot = _bootInfo();
        kms.registerApp(address(app));
        vm.startPrank(OWNER);
        kms.addOsImageHash(boot.osImageHash);
        kms.addKmsAggregatedMr(boot.mrAggregated);
        kms.addKmsDevice(boot.deviceId);
        app.addComposeHash(boot.composeHash);
        app.addDevice(boot.deviceId);
        // Stays in force for the one call of each test.
    }

    function test_deploy_kms_implementation() public {
        new KmsAuth();
    }

    function test_deploy_app_implementation() public {
        new AppAuth();
    }

    function test_deployAndRegisterApp() public {
        kms.deployAndRegisterApp(OWNER, false, true, true, "device", "compose");
    }

    function test_registerApp() public {
        kms.registerApp(address(0xA99));
    }

    function test_addOsImageHash() public {
        kms.addOsImageHash("image");
    }

    function test_removeOsImageHash() public {
        kms.removeOsImageHash(boot.osImageHash);
    }

    function test_setKmsInfo() public {
        kms.setKmsInfo(IKmsTypes.KmsInfo(new bytes(33), new bytes(65), new bytes(5000), new bytes(3000)));
    }

    function test_setGatewayAppId() public {
        kms.setGatewayAppId("0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0");
    }

    function test_isKmsAllowed() public view {
        kms.isKmsAllowed(boot);
    }

    function test_isAppAllowed() public view {
        kms.isAppAllowed(boot);
    }

    function test_addComposeHash() public {
        app.addComposeHash("compose");
    }

    function test_removeComposeHash() public {
        app.removeComposeHash(boot.composeHash);
    }

    function test_setRequireTcbUpToDate() public {
        app.setRequireTcbUpToDate(true);
    }
}
