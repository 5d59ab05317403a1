// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {
    CompatibilityFallbackHandler
} from "@safe-global/safe-smart-account/contracts/handler/CompatibilityFallbackHandler.sol";
import {ISafe} from "@safe-global/safe-smart-account/contracts/interfaces/ISafe.sol";
import {Enum} from "@safe-global/safe-smart-account/contracts/libraries/Enum.sol";
import {SafeProxyFactory} from "@safe-global/safe-smart-account/contracts/proxies/SafeProxyFactory.sol";
import {SafeL2} from "@safe-global/safe-smart-account/contracts/SafeL2.sol";

import {AppAuth} from "../../contracts/AppAuth.sol";
import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {BylawTest} from "./support/BylawTest.sol";
import {vm} from "./support/TestVm.sol";

/// @dev What these tests use of Foundry's cheatcodes besides.
interface SignerVm {
    function addr(uint256 privateKey) external pure returns (address);
    function sign(uint256 privateKey, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function warp(uint256 time) external;
}

SignerVm constant signerVm = SignerVm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

/// @notice Both contracts owned by contracts: a Safe of two out of three, from Safe's own sources and factory, and
/// OpenZeppelin's timelock.
contract SafeTest is BylawTest {
    uint32 internal constant DELAY = 2 days;
    address internal constant GUARDIAN = address(0x6A12D);
    bytes32 internal constant FIRST = keccak256("first version");
    bytes32 internal constant SECOND = keccak256("second version");
    bytes32 internal constant IMAGE = keccak256("image");

    ISafe internal safe;

    /// @dev The owners' keys, in the order of their addresses, which a Safe demands of signatures.
    uint256[] internal keys;

    function setUp() public override {
        super.setUp();
        signerVm.warp(1_800_000_000);
        _makeKeys();
        address[] memory owners = new address[](3);
        for (uint256 i = 0; i < 3; i++) {
            owners[i] = signerVm.addr(keys[i]);
        }
        safe = _newSafe(owners, 2);

        vm.startPrank(OWNER);
        app.addComposeHash(FIRST);
        app.setAllowAnyDevice(true);
        app.setDelay(DELAY);
        app.setGuardian(GUARDIAN);
        app.transferOwnership(address(safe));
        kms.setDelay(DELAY);
        kms.setGuardian(GUARDIAN);
        kms.transferOwnership(address(safe));
        vm.stopPrank();
        signerVm.warp(block.timestamp + DELAY);
        _execute(address(app), abi.encodeWithSignature("acceptOwnership()"));
        _execute(address(kms), abi.encodeWithSignature("acceptOwnership()"));
    }

    // ------------------------------------------------------------ a Safe

    function test_SafeOwnsBoth() public view {
        vm.assertEq(app.owner(), address(safe));
        vm.assertEq(kms.owner(), address(safe));
        vm.assertEq(app.pendingChanges().length, 0);
        vm.assertEq(safe.getThreshold(), 2);
        vm.assertEq(uint256(safe.getOwners().length), 3);
    }

    function test_SafeAcceptsOnlyAfterTheDelay() public {
        app = _newApp(OWNER, false);
        vm.startPrank(OWNER);
        app.setDelay(DELAY);
        app.transferOwnership(address(safe));
        vm.stopPrank();
        bytes memory call = abi.encodeWithSignature("acceptOwnership()");
        uint256 start = block.timestamp;
        bytes memory signatures = _sign(address(app), call, 2);
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotYet.selector, start + DELAY));
        _send(address(app), call, signatures);

        // The refused transaction used no nonce: the same signatures do later.
        signerVm.warp(start + DELAY);
        _send(address(app), call, signatures);
        vm.assertEq(app.owner(), address(safe));
    }

    function test_SafeSupersedesWithDelay() public {
        uint256 start = block.timestamp;
        _execute(address(app), abi.encodeCall(app.supersede, (FIRST, SECOND, 0, "note")));
        IGoverned.PendingChange[] memory pending = app.pendingChanges();
        vm.assertEq(pending.length, 1);
        vm.assertEq(pending[0].value, SECOND);
        vm.assertEq(uint256(pending[0].activatesAt), start + DELAY);

        signerVm.warp(start + DELAY - 1);
        vm.assertTrue(app.allowedComposeHashes(FIRST));
        vm.assertFalse(app.allowedComposeHashes(SECOND));
        signerVm.warp(start + DELAY);
        vm.assertFalse(app.allowedComposeHashes(FIRST));
        vm.assertTrue(app.allowedComposeHashes(SECOND));
    }

    function test_SafeChangesTheKms() public {
        _execute(address(kms), abi.encodeCall(kms.addOsImageHash, (IMAGE)));
        vm.assertFalse(kms.allowedOsImages(IMAGE));
        signerVm.warp(block.timestamp + DELAY);
        vm.assertTrue(kms.allowedOsImages(IMAGE));
        _execute(address(kms), abi.encodeCall(kms.removeOsImageHash, (IMAGE)));
        vm.assertFalse(kms.allowedOsImages(IMAGE));
    }

    function test_OneSignatureIsRefused() public {
        bytes memory call = abi.encodeCall(app.retire, (FIRST));
        bytes memory signatures = _sign(address(app), call, 1);
        _expectReason("GS020");
        _send(address(app), call, signatures);
        vm.assertTrue(app.allowedComposeHashes(FIRST));
    }

    function test_OneOwnerTwiceIsRefused() public {
        bytes memory call = abi.encodeCall(app.retire, (FIRST));
        bytes memory one = _sign(address(app), call, 1);
        _expectReason("GS026");
        _send(address(app), call, bytes.concat(one, one));
    }

    function test_WrongOrderIsRefused() public {
        bytes memory call = abi.encodeCall(app.retire, (FIRST));
        bytes32 digest = _digest(address(app), call);
        bytes memory signatures = bytes.concat(_signature(keys[1], digest), _signature(keys[0], digest));
        _expectReason("GS026");
        _send(address(app), call, signatures);
        vm.assertTrue(app.allowedComposeHashes(FIRST));
    }

    function test_StrangersSignatureIsRefused() public {
        bytes memory call = abi.encodeCall(app.retire, (FIRST));
        bytes32 digest = _digest(address(app), call);
        uint256 stranger = 0x5712A;
        bytes memory signatures = signerVm.addr(stranger) > signerVm.addr(keys[0])
            ? bytes.concat(_signature(keys[0], digest), _signature(stranger, digest))
            : bytes.concat(_signature(stranger, digest), _signature(keys[0], digest));
        _expectReason("GS026");
        _send(address(app), call, signatures);
    }

    function test_ReplayIsRefused() public {
        bytes memory call = abi.encodeCall(app.pause, ());
        bytes memory signatures = _sign(address(app), call, 2);
        _send(address(app), call, signatures);
        vm.assertTrue(app.paused());
        // They were signed with a nonce that is used.
        _expectReason("GS026");
        _send(address(app), call, signatures);
    }

    function test_SignaturesAreForOneContract() public {
        bytes memory call = abi.encodeCall(IGoverned.setDelay, (DELAY + 1));
        bytes memory signatures = _sign(address(app), call, 2);
        _expectReason("GS026");
        _send(address(kms), call, signatures);
    }

    function test_SafesOwnersOwnNothing() public {
        bytes memory call = abi.encodeCall(app.retire, (FIRST));
        for (uint256 i = 0; i < keys.length; i++) {
            _assertRefused(address(app), signerVm.addr(keys[i]), call);
        }
        _assertRefused(address(app), OWNER, call);
    }

    function test_GuardianVetoesTheSafe() public {
        _execute(address(app), abi.encodeCall(app.supersede, (FIRST, SECOND, 0, "")));
        bytes32 id = app.pendingChanges()[0].id;
        vm.prank(GUARDIAN);
        app.veto(id);
        vm.assertEq(app.pendingChanges().length, 0);
        signerVm.warp(block.timestamp + DELAY);
        vm.assertTrue(app.allowedComposeHashes(FIRST));
        vm.assertFalse(app.allowedComposeHashes(SECOND));

        // Nor does a stolen Safe get rid of the guardian unseen.
        _execute(address(app), abi.encodeCall(IGoverned.setGuardian, (STRANGER)));
        vm.assertEq(app.guardian(), GUARDIAN);
        id = app.pendingChanges()[0].id;
        vm.prank(GUARDIAN);
        app.veto(id);
        signerVm.warp(block.timestamp + DELAY);
        vm.assertEq(app.guardian(), GUARDIAN);
    }

    function test_SafeIsTheGuardian() public {
        app = _newApp(OWNER, false);
        vm.startPrank(OWNER);
        app.setGuardian(address(safe));
        app.setDelay(DELAY);
        app.addComposeHash(FIRST);
        vm.stopPrank();
        _execute(address(app), abi.encodeCall(IGoverned.veto, (app.pendingChanges()[0].id)));
        vm.assertEq(app.pendingChanges().length, 0);
        _execute(address(app), abi.encodeCall(app.pause, ()));
        vm.assertTrue(app.paused());
        bytes memory call = abi.encodeCall(app.unpause, ());
        bytes memory signatures = _sign(address(app), call, 2);
        _expectUnauthorized(address(safe));
        _send(address(app), call, signatures);
    }

    function test_ThresholdChange() public {
        _execute(address(safe), abi.encodeWithSignature("changeThreshold(uint256)", 3));
        vm.assertEq(safe.getThreshold(), 3);
        bytes memory call = abi.encodeCall(app.retire, (FIRST));
        bytes memory two = _sign(address(app), call, 2);
        _expectReason("GS020");
        _send(address(app), call, two);
        _send(address(app), call, _sign(address(app), call, 3));
        vm.assertFalse(app.allowedComposeHashes(FIRST));
    }

    function test_SafeUpgradesWithDelay() public {
        address next = address(new AppAuth());
        bytes memory call = abi.encodeWithSignature("upgradeToAndCall(address,bytes)", next, bytes(""));
        address before = _implementationOf(address(app));
        uint256 start = block.timestamp;
        _execute(address(app), call);
        vm.assertEq(_implementationOf(address(app)), before);
        bytes memory signatures = _sign(address(app), call, 2);
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotYet.selector, start + DELAY));
        _send(address(app), call, signatures);
        signerVm.warp(start + DELAY);
        _send(address(app), call, signatures);
        vm.assertEq(_implementationOf(address(app)), next);
        vm.assertEq(app.owner(), address(safe));
    }

    // ------------------------------------------------------------ a timelock

    function test_TimelockOwnsAnApp() public {
        app = _newApp(OWNER, false);
        TimelockController timelock = _newTimelock(1 days);
        vm.startPrank(OWNER);
        app.addComposeHash(FIRST);
        app.setDelay(DELAY);
        app.transferOwnership(address(timelock));
        vm.stopPrank();
        signerVm.warp(block.timestamp + DELAY);
        _throughTimelock(timelock, abi.encodeWithSignature("acceptOwnership()"));
        vm.assertEq(app.owner(), address(timelock));

        // Its delay and ours add up.
        _throughTimelock(timelock, abi.encodeCall(app.supersede, (FIRST, SECOND, 0, "")));
        vm.assertFalse(app.allowedComposeHashes(SECOND));
        signerVm.warp(block.timestamp + DELAY);
        vm.assertTrue(app.allowedComposeHashes(SECOND));
        vm.assertFalse(app.allowedComposeHashes(FIRST));
        _assertRefused(address(app), OWNER, abi.encodeCall(app.retire, (SECOND)));
    }

    /// @dev A timelock that a Safe proposes to: the arrangement of many DAOs.
    function test_SafeProposesToATimelock() public {
        TimelockController timelock = _newTimelock(1 days);
        _execute(address(app), abi.encodeWithSignature("transferOwnership(address)", address(timelock)));
        signerVm.warp(block.timestamp + DELAY);
        bytes memory accept = abi.encodeWithSignature("acceptOwnership()");
        _execute(
            address(timelock),
            abi.encodeCall(timelock.schedule, (address(app), 0, accept, 0, bytes32("safe"), 1 days))
        );
        signerVm.warp(block.timestamp + 1 days);
        timelock.execute(address(app), 0, accept, 0, bytes32("safe"));
        vm.assertEq(app.owner(), address(timelock));
    }

    // ------------------------------------------------------------ support

    /// @dev Sorted by address: a Safe compares each signer with the one before.
    function _makeKeys() private {
        keys = [uint256(0xA1), 0xB2, 0xC3];
        for (uint256 i = 0; i < keys.length; i++) {
            for (uint256 j = i + 1; j < keys.length; j++) {
                if (signerVm.addr(keys[i]) < signerVm.addr(keys[j])) continue;
                (keys[i], keys[j]) = (keys[j], keys[i]);
            }
        }
    }

    function _newSafe(address[] memory owners, uint256 threshold) private returns (ISafe) {
        SafeL2 singleton = new SafeL2();
        address handler = address(new CompatibilityFallbackHandler());
        address payable nobody = payable(address(0));
        bytes memory call =
            abi.encodeCall(ISafe.setup, (owners, threshold, nobody, "", handler, nobody, 0, nobody));
        return
            ISafe(payable(address(new SafeProxyFactory().createProxyWithNonce(address(singleton), call, 0))));
    }

    /// @dev OWNER and the Safe propose, anyone executes.
    function _newTimelock(uint256 delay) private returns (TimelockController) {
        address[] memory proposers = new address[](2);
        proposers[0] = OWNER;
        proposers[1] = address(safe);
        return new TimelockController(delay, proposers, new address[](1), address(0));
    }

    /// @dev A call of the app, with the timelock's wait.
    function _throughTimelock(TimelockController timelock, bytes memory call) private {
        uint256 delay = timelock.getMinDelay();
        vm.prank(OWNER);
        timelock.schedule(address(app), 0, call, 0, 0, delay);
        bytes32 id = timelock.hashOperation(address(app), 0, call, 0, 0);
        vm.assertFalse(timelock.isOperationReady(id));
        signerVm.warp(block.timestamp + delay);
        timelock.execute(address(app), 0, call, 0, 0);
    }

    function _execute(address target, bytes memory call) private {
        _send(target, call, _sign(target, call, 2));
    }

    /// @dev Anyone may send what enough owners signed.
    function _send(address target, bytes memory call, bytes memory signatures) private {
        address payable nobody = payable(address(0));
        safe.execTransaction(target, 0, call, Enum.Operation.Call, 0, 0, 0, nobody, nobody, signatures);
    }

    function _digest(address target, bytes memory call) private view returns (bytes32) {
        return safe.getTransactionHash(
            target, 0, call, Enum.Operation.Call, 0, 0, 0, address(0), address(0), safe.nonce()
        );
    }

    /// @dev By the first owners.
    function _sign(address target, bytes memory call, uint256 count)
        private
        view
        returns (bytes memory signatures)
    {
        bytes32 digest = _digest(target, call);
        for (uint256 i = 0; i < count; i++) {
            signatures = bytes.concat(signatures, _signature(keys[i], digest));
        }
    }

    function _signature(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = signerVm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _implementationOf(address proxy) private view returns (address) {
        return address(uint160(uint256(vm.load(proxy, IMPLEMENTATION_SLOT))));
    }
}
