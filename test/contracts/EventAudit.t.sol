// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {IKmsTypes} from "../../contracts/interfaces/IKmsTypes.sol";
import {AppAuth} from "../../contracts/AppAuth.sol";
import {KmsAuth} from "../../contracts/KmsAuth.sol";
import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {BylawTest} from "./support/BylawTest.sol";
import {TestVm, vm} from "./support/TestVm.sol";

/// @notice An auditor who has only the logs knows the policy: whatever sequence of calls was made, replaying
/// PolicyChanged gives what the getters say.
contract EventAuditTest is BylawTest {
    /// @dev policy => value => the last word about it, by contract.
    mapping(address emitter => mapping(bytes32 policy => mapping(bytes32 value => bool))) private known;
    /// @dev Where a policy has one value at a time: the latest.
    mapping(address emitter => mapping(bytes32 policy => bytes32)) private latest;

    /// @dev Values are drawn from a few, so that sequences meet themselves again.
    function testFuzz_kms_policy_is_rebuilt_from_logs(uint16[40] calldata choices) public {
        vm.recordLogs();
        for (uint256 i = 0; i < choices.length; i++) {
            _changeKms(choices[i]);
        }
        _replay();
        for (uint256 i = 0; i < 4; i++) {
            vm.assertEq(_known(address(kms), "os-image", _value(i)), kms.allowedOsImages(_value(i)));
            vm.assertEq(_known(address(kms), "kms-device", _value(i)), kms.kmsAllowedDeviceIds(_value(i)));
            vm.assertEq(
                _known(address(kms), "kms-aggregated-mr", _value(i)), kms.kmsAllowedAggregatedMrs(_value(i))
            );
            vm.assertEq(
                _known(address(kms), "registered-app", _word(_address(i))), kms.registeredApps(_address(i))
            );
        }
        bytes32 gateway = _latest(address(kms), "gateway-app-id");
        vm.assertEq(gateway == 0 ? keccak256("") : gateway, keccak256(bytes(kms.gatewayAppId())));
        bytes32 implementation = _latest(address(kms), "app-implementation");
        if (implementation != 0) vm.assertEq(implementation, _word(kms.appImplementation()));
        (bytes memory k256Pubkey,,,) = kms.kmsInfo();
        bytes32 info = _latest(address(kms), "kms-info");
        vm.assertEq(info == 0 ? keccak256("") : info, keccak256(k256Pubkey));
    }

    function testFuzz_app_policy_is_rebuilt_from_logs(uint16[40] calldata choices) public {
        vm.recordLogs();
        for (uint256 i = 0; i < choices.length; i++) {
            _changeApp(choices[i]);
        }
        _replay();
        for (uint256 i = 0; i < 4; i++) {
            vm.assertEq(_known(address(app), "compose-hash", _value(i)), app.allowedComposeHashes(_value(i)));
            vm.assertEq(_known(address(app), "device", _value(i)), app.allowedDeviceIds(_value(i)));
        }
        vm.assertEq(_known(address(app), "allow-any-device", 0), app.allowAnyDevice());
        vm.assertEq(_known(address(app), "require-tcb-up-to-date", 0), app.requireTcbUpToDate());
        vm.assertEq(
            _known(address(app), "upgrades-disabled", 0),
            uint256(vm.load(address(app), bytes32(uint256(1)))) & 0xff != 0
        );
    }

    function test_both_policies_from_one_stream() public {
        vm.recordLogs();
        IManagedAppAuth made =
            IManagedAppAuth(kms.deployAndRegisterApp(OWNER, false, true, "device", "compose"));
        vm.startPrank(OWNER);
        made.removeDevice("device");
        made.addComposeHash("next");
        _replay();
        vm.assertTrue(_known(address(kms), "registered-app", _word(address(made))));
        vm.assertFalse(_known(address(made), "device", "device"));
        vm.assertTrue(_known(address(made), "compose-hash", "compose"));
        vm.assertTrue(_known(address(made), "compose-hash", "next"));
        // The other app's log is its own.
        vm.assertFalse(_known(address(app), "compose-hash", "next"));
    }

    function test_upgrade_names_the_implementation() public {
        address next = address(new KmsAuth());
        vm.recordLogs();
        vm.prank(OWNER);
        kms.upgradeToAndCall(next, "");
        _replay();
        vm.assertEq(
            _latest(address(kms), "implementation-upgrade"), vm.load(address(kms), IMPLEMENTATION_SLOT)
        );
    }

    /// @dev Each is refused before it logs; what a failed upgrade logged, the chain forgets with the call.
    function test_failed_calls_leave_no_log() public {
        vm.recordLogs();
        vm.startPrank(OWNER);
        (bool registered,) = address(kms).call(abi.encodeCall(kms.registerApp, (address(0))));
        (bool set,) = address(kms).call(abi.encodeCall(kms.setAppImplementation, (address(0))));
        vm.assertFalse(registered || set);
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    /// @dev One of the owner's or anybody's changes; one time in eight by a stranger, which must come to nothing.
    function _changeKms(uint256 choice) private {
        bytes32 value = _value(choice & 3);
        uint256 kind = (choice >> 2) % 10;
        if (kind == 9) return kms.registerApp(_address(choice & 3));

        bytes memory call;
        if (kind == 0) call = abi.encodeCall(kms.addOsImageHash, (value));
        else if (kind == 1) call = abi.encodeCall(kms.removeOsImageHash, (value));
        else if (kind == 2) call = abi.encodeCall(kms.addKmsDevice, (value));
        else if (kind == 3) call = abi.encodeCall(kms.removeKmsDevice, (value));
        else if (kind == 4) call = abi.encodeCall(kms.addKmsAggregatedMr, (value));
        else if (kind == 5) call = abi.encodeCall(kms.removeKmsAggregatedMr, (value));
        else if (kind == 6) call = abi.encodeCall(kms.setGatewayAppId, (vm.toString(choice)));
        else if (kind == 7) call = abi.encodeCall(kms.setAppImplementation, (_address(choice & 3)));
        else call = abi.encodeCall(kms.setKmsInfo, (IKmsTypes.KmsInfo(abi.encode(choice), "", "", "")));
        _callAs(choice, address(kms), call);
    }

    function _changeApp(uint256 choice) private {
        bytes32 value = _value(choice & 3);
        uint256 kind = (choice >> 2) % 7;
        bytes memory call;
        if (kind == 0) call = abi.encodeCall(app.addComposeHash, (value));
        else if (kind == 1) call = abi.encodeCall(app.removeComposeHash, (value));
        else if (kind == 2) call = abi.encodeCall(app.addDevice, (value));
        else if (kind == 3) call = abi.encodeCall(app.removeDevice, (value));
        else if (kind == 4) call = abi.encodeCall(app.setAllowAnyDevice, (choice & 1 != 0));
        else if (kind == 5) call = abi.encodeCall(app.setRequireTcbUpToDate, (choice & 1 != 0));
        else call = abi.encodeCall(app.disableUpgrades, ());
        _callAs(choice, address(app), call);
    }

    function _callAs(uint256 choice, address target, bytes memory call) private {
        bool byOwner = (choice >> 8) % 8 != 0;
        vm.prank(byOwner ? OWNER : STRANGER);
        (bool success,) = target.call(call);
        vm.assertEq(success, byOwner);
    }

    /// @dev Reads the logs as an auditor does, and checks that each PolicyChanged follows the event it is about.
    function _replay() private {
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].topics[0] != POLICY_CHANGED) continue;
            bytes32 policy = logs[i].topics[2];
            bytes32 value = logs[i].topics[3];
            if (policy != keccak256("implementation-upgrade")) {
                vm.assertTrue(i > 0 && logs[i - 1].emitter == logs[i].emitter);
                vm.assertFalse(logs[i - 1].topics[0] == POLICY_CHANGED);
            }
            known[logs[i].emitter][policy][value] = abi.decode(logs[i].data, (bool));
            latest[logs[i].emitter][policy] = value;
        }
    }

    function _known(address emitter, string memory label, bytes32 value) private view returns (bool) {
        return known[emitter][keccak256(bytes(label))][value];
    }

    function _latest(address emitter, string memory label) private view returns (bytes32) {
        return latest[emitter][keccak256(bytes(label))];
    }

    function _value(uint256 index) private pure returns (bytes32) {
        return keccak256(abi.encode("value", index));
    }

    function _address(uint256 index) private pure returns (address) {
        return address(uint160(0xA990 + index));
    }
}
