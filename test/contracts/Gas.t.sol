// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IKmsTypes} from "../../contracts/interfaces/IKmsTypes.sol";
import {AppAuth} from "../../contracts/AppAuth.sol";
import {KmsAuth} from "../../contracts/KmsAuth.sol";
import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
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

/// @notice What the question about one VM costs in a transaction of its own, in the usual case: a listed version,
/// nothing pending. Tests touch nothing before they ask, so every slot and every account is cold except the one
/// the transaction is sent to (EIP-2929). What a transaction costs besides, 21,000 and its data, is not counted.
contract QuestionGasTest is BylawTest {
    uint256 private constant LIMIT = 30_000;

    /// @dev Shown by `forge test -vvvv`.
    event Spent(uint256 gas);

    IManagedAppAuth private anyDevice;
    IManagedAppAuth private strict;

    function setUp() public override {
        super.setUp();
        anyDevice = _newApp(OWNER, false);
        strict = _newApp(OWNER, false);
        IManagedAppAuth[3] memory apps = [app, anyDevice, strict];
        for (uint256 i = 0; i < apps.length; i++) {
            kms.registerApp(address(apps[i]));
            vm.startPrank(OWNER);
            apps[i].addComposeHash(_bootInfo().composeHash);
            if (apps[i] == anyDevice) apps[i].setAllowAnyDevice(true);
            else apps[i].addDevice(_bootInfo().deviceId);
            if (apps[i] == strict) apps[i].setRequireTcbUpToDate(true);
            apps[i].setDelay(1 days);
            apps[i].setGuardian(STRANGER);
            vm.stopPrank();
        }
        vm.startPrank(OWNER);
        kms.addOsImageHash(_bootInfo().osImageHash);
        kms.setDelay(1 days);
        kms.setGuardian(STRANGER);
        vm.stopPrank();
    }

    function test_kms_about_listed_device() public {
        _assertCheap(address(kms), app);
    }

    function test_kms_about_any_device() public {
        _assertCheap(address(kms), anyDevice);
    }

    function test_kms_about_listed_device_and_required_tcb() public {
        // Not the usual case: it demands something besides its lists.
        _assertCost(address(kms), strict, 33_500);
    }

    function test_app_about_listed_device() public {
        _assertCheap(address(app), app);
    }

    function test_app_about_any_device() public {
        _assertCheap(address(anyDevice), anyDevice);
    }

    function test_app_about_listed_device_and_required_tcb() public {
        _assertCheap(address(strict), strict);
    }

    function _assertCheap(address target, IManagedAppAuth about) private {
        _assertCost(target, about, LIMIT);
    }

    function _assertCost(address target, IManagedAppAuth about, uint256 limit) private {
        IAppAuth.AppBootInfo memory boot = _bootInfo();
        boot.appId = address(about);
        bytes memory question = abi.encodeCall(IAppAuth.isAppAllowed, (boot));
        // Warms the account, as a transaction to it does, and none of its slots.
        vm.assertEq(target.balance, 0);
        uint256 before = gasleft();
        (bool success, bytes memory answer) = target.staticcall(question);
        uint256 spent = before - gasleft();
        vm.assertTrue(success);
        vm.assertEq(answer, abi.encode(true, ""));
        emit Spent(spent);
        vm.assertLt(spent, limit);
    }
}
