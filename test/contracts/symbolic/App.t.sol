// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {AppAuth} from "../../../contracts/AppAuth.sol";
import {AppPolicies, AppPolicy, TeeVariants} from "../../../contracts/governance/AppPolicies.sol";
import {IAppAuth} from "../../../contracts/interfaces/IAppAuth.sol";
import {Facts} from "../../../contracts/interfaces/IAppPolicy.sol";
import {IManagedAppAuth} from "../../../contracts/interfaces/IManagedAppAuth.sol";
import {vm} from "../support/TestVm.sol";
import {timeVm} from "./support/TimeVm.sol";

/// @dev What widens waits, what narrows does not: proved for every call, its arguments and every later time.
contract AppSymbolic {
    using AppPolicies for AppPolicy;

    uint64 private constant START = 1_800_000_000;
    uint32 private constant DELAY = 1 days;

    address private constant OWNER = address(0xA11CE);
    address private constant GUARDIAN = address(0x6A4D);

    bytes32 private constant RUNNING = bytes32(uint256(0x11));
    bytes32 private constant WAITING = bytes32(uint256(0x12));
    string private constant ADVISORY = "INTEL-SA-00828";
    bytes32 private constant DEVICE = bytes32(uint256(0x21));

    uint8 private constant PAUSE = 13;
    uint8 private constant VETO = 17;
    uint8 private constant SETTLE = 18;

    IManagedAppAuth private app;

    /// @dev Any other version or device.
    bytes32 private constant OTHER = bytes32(uint256(0x31));

    /// @dev A call: which, with what.
    struct Call {
        uint8 which;
        uint8 hash;
        uint8 time;
        uint32 number;
        address account;
        bool flag;
    }

    function setUp() public {
        timeVm.warp(START);
        bytes memory call = abi.encodeWithSignature(
            "initialize(address,bool,bool,bool,bytes32,bytes32)", OWNER, false, false, false, DEVICE, RUNNING
        );
        app = IManagedAppAuth(address(new ERC1967Proxy(address(new AppAuth()), call)));
        vm.startPrank(OWNER);
        app.setGuardian(GUARDIAN);
        app.setDelay(DELAY);
        app.addComposeHash(WAITING);
        vm.stopPrank();
    }

    /// @dev Whoever is neither owner nor guardian may do nothing but settle.
    function check_othersMayOnlySettle(address caller, Call calldata call) public {
        vm.assume(caller != OWNER && caller != GUARDIAN && caller != address(0));
        vm.assume(call.which != SETTLE);
        assert(!_send(caller, call));
    }

    /// @dev The guardian may pause and veto besides.
    function check_guardianMayOnlyPauseAndVeto(Call calldata call) public {
        vm.assume(call.which != SETTLE && call.which != PAUSE && call.which != VETO);
        assert(!_send(GUARDIAN, call));
    }

    /// @dev Nothing that the owner does gives access sooner than the delay.
    function check_ownerWidensAfterTheDelay(Call calldata call, uint8 probe, uint32 later) public {
        vm.assume(later < DELAY);
        bool before = _isAllowed(_hash(probe), _deviceOf(probe), START + later);
        _send(OWNER, call);
        assert(before || !_isAllowed(_hash(probe), _deviceOf(probe), START + later));
    }

    /// @dev The same of what the owner demands besides: at no time before the delay is any of it looser.
    function check_policyLoosensAfterTheDelay(AppPolicy calldata next, uint32 later) public {
        vm.assume(later < DELAY);
        AppPolicy memory before = app.policy(START + later);
        vm.prank(OWNER);
        app.setPolicy(next);
        AppPolicy memory present = app.policy(START + later);
        assert(_isWithin(present, before));
        assert(_isWithin(present, next));
    }

    /// @dev What is stricter holds at once, also where the rest waits; and then all of it holds.
    function check_policyHoldsAfterTheDelay(AppPolicy calldata next) public {
        vm.prank(OWNER);
        app.setPolicy(next);
        assert(app.policy(START + DELAY).equals(next));
        timeVm.warp(START + DELAY);
        app.settle();
        assert(app.policy(0).equals(next));
    }

    /// @dev The guardian gives no access, at any time.
    function check_guardianWidensNothing(Call calldata call, uint8 probe, uint32 later) public {
        vm.assume(call.which == PAUSE || call.which == VETO);
        bool before = _isAllowed(_hash(probe), _deviceOf(probe), START + later);
        _send(GUARDIAN, call);
        assert(before || !_isAllowed(_hash(probe), _deviceOf(probe), START + later));
    }

    /// @dev Whatever the owner does after it, a retired version runs at no time.
    function check_retiredStaysRetired(Call calldata call, uint32 later, bool waiting) public {
        uint8 probe = waiting ? 1 : 0;
        vm.prank(OWNER);
        app.retire(_hash(probe));
        assert(!_isAllowed(_hash(probe), _deviceOf(probe), START + later));
        _send(OWNER, call);
        assert(!_isAllowed(_hash(probe), _deviceOf(probe), START + later));
    }

    /// @dev What was removed is refused now and, if nothing is added, for ever.
    function check_removedVersionIsRefused(uint8 probe, uint32 later) public {
        vm.prank(OWNER);
        app.removeComposeHash(_hash(probe));
        assert(!app.allowedComposeHashes(_hash(probe)));
        assert(!_isAllowed(_hash(probe), _deviceOf(probe), START + later));
    }

    function check_removedDeviceIsRefused(uint8 probe, uint32 later) public {
        vm.prank(OWNER);
        app.removeDevice(_deviceOf(probe));
        assert(!app.allowedDeviceIds(_deviceOf(probe)));
        assert(!_isAllowed(_hash(probe), _deviceOf(probe), START + later));
    }

    function check_pausedIsRefused(uint8 probe, uint32 later, bool byGuardian) public {
        vm.prank(byGuardian ? GUARDIAN : OWNER);
        app.pause();
        assert(!_isAllowed(_hash(probe), _deviceOf(probe), START + later));
    }

    function check_advisoryIsRefused(bool waits, uint32 later) public {
        bytes32 advisory = bytes32(bytes(ADVISORY));
        vm.startPrank(OWNER);
        if (waits) app.setAdvisoryTolerated(advisory, true);
        app.setAdvisoryTolerated(advisory, false);
        vm.stopPrank();
        timeVm.warp(uint256(START) + later);
        assert(!app.toleratedAdvisories(advisory));
    }

    /// @dev Frozen is frozen, under any call of anybody.
    function check_frozenStaysFrozen(address caller, Call calldata call) public {
        vm.assume(caller != address(0));
        vm.startPrank(OWNER);
        app.disableUpgrades();
        app.freezeVersions();
        vm.stopPrank();
        uint32 count = app.versionCount();
        _send(caller, call);
        assert(app.upgradesDisabled());
        assert(app.versionsFrozen());
        assert(app.versionCount() == count);
    }

    /// @dev The delay falls after the present one, and rises at once.
    function check_delayFallsAfterTheDelay(uint32 next, uint32 later) public {
        vm.prank(OWNER);
        app.setDelay(next);
        if (next >= DELAY) assert(app.delay() == next);
        else assert(app.delay() == DELAY);
        timeVm.warp(uint256(START) + later);
        uint32 present = app.delay();
        if (later < DELAY) assert(present >= DELAY);
        assert(present == next || present == DELAY);
    }

    /// @dev Another owner comes after the delay, and only who was named.
    function check_ownerComesAfterTheDelay(address next, address caller, uint32 later) public {
        vm.assume(next != address(0) && caller != address(0));
        vm.prank(OWNER);
        app.transferOwnership(next);
        timeVm.warp(uint256(START) + later);
        vm.prank(caller);
        (bool success,) = address(app).call(abi.encodeCall(app.acceptOwnership, ()));
        assert(success == (caller == next && later >= DELAY));
        assert(app.owner() == (success ? next : OWNER));
    }

    /// @dev Settling changes no answer about that time.
    function check_settlingChangesNothing(Call calldata call, uint8 probe, uint32 later) public {
        vm.assume(call.which < 3 || call.which == 8 || call.which == 10);
        _send(OWNER, call);
        bool predicted = _isAllowed(_hash(probe), _deviceOf(probe), START + later);
        timeVm.warp(uint256(START) + later);
        assert(_isAllowed(_hash(probe), _deviceOf(probe), 0) == predicted);
        app.settle();
        assert(_isAllowed(_hash(probe), _deviceOf(probe), 0) == predicted);
    }

    // ------------------------------------------------------------ private

    /// @dev Any mutator there is; what it does not take is ignored.
    function _send(address caller, Call calldata call) private returns (bool success) {
        bytes memory data;
        uint8 which = call.which;
        bytes32 hash = _hash(call.hash);
        if (which == 0) {
            data = abi.encodeCall(app.addComposeHash, (hash));
        } else if (which == 1) {
            data = abi.encodeCall(app.addVersion, (hash, _time(call.time), 0, ""));
        } else if (which == 2) {
            data = abi.encodeCall(app.supersede, (RUNNING, hash, 0, ""));
        } else if (which == 3) {
            data = abi.encodeCall(app.removeComposeHash, (hash));
        } else if (which == 4) {
            data = abi.encodeCall(app.retire, (hash));
        } else if (which == 5) {
            data = abi.encodeCall(app.setVersionExpiry, (hash, _time(call.time)));
        } else if (which == 6) {
            data = abi.encodeCall(app.setMinVersion, (call.number));
        } else if (which == 7) {
            data = abi.encodeCall(app.freezeVersions, ());
        } else if (which == 8) {
            data = abi.encodeCall(app.addDevice, (_device(call.hash)));
        } else if (which == 9) {
            data = abi.encodeCall(app.removeDevice, (_device(call.hash)));
        } else if (which == 10) {
            data = abi.encodeCall(app.setAllowAnyDevice, (call.flag));
        } else if (which == 11) {
            data = abi.encodeCall(app.setRequireTcbUpToDate, (call.flag));
        } else if (which == 12) {
            data = abi.encodeCall(app.setAdvisoryTolerated, (bytes32(bytes(ADVISORY)), call.flag));
        } else if (which == PAUSE) {
            data = abi.encodeCall(app.pause, ());
        } else if (which == 14) {
            data = abi.encodeCall(app.unpause, ());
        } else if (which == 15) {
            data = abi.encodeCall(app.setDelay, (call.number));
        } else if (which == 16) {
            data = abi.encodeCall(app.setGuardian, (call.account));
        } else if (which == VETO) {
            data = abi.encodeCall(app.veto, (_id(call.hash)));
        } else if (which == SETTLE) {
            data = abi.encodeCall(app.settle, ());
        } else if (which == 19) {
            data = abi.encodeCall(app.acceptOwnership, ());
        } else if (which == 20) {
            data = abi.encodeCall(app.transferOwnership, (call.account));
        } else if (which == 21) {
            data = abi.encodeCall(app.renounceOwnership, ());
        } else {
            data = abi.encodeCall(app.disableUpgrades, ());
        }
        vm.prank(caller);
        (success,) = address(app).call(data);
    }

    /// @dev What is told apart is told apart by branching: a reason names numbers, and its length must be known.
    function _hash(uint8 choice) private pure returns (bytes32) {
        if (choice == 0) return RUNNING;
        if (choice == 1) return WAITING;
        return choice == 2 ? OTHER : RUNNING;
    }

    /// @dev Each version on a device that will do, and the one that runs on one that will not.
    function _deviceOf(uint8 probe) private pure returns (bytes32) {
        return probe == 3 ? OTHER : DEVICE;
    }

    function _device(uint8 choice) private pure returns (bytes32) {
        return choice == 0 ? DEVICE : OTHER;
    }

    function _time(uint8 choice) private pure returns (uint64) {
        if (choice == 0) return 0;
        return choice == 1 ? START + 1 hours : START + DELAY + 1 hours;
    }

    function _id(uint8 choice) private pure returns (bytes32) {
        if (choice == 0) return keccak256(abi.encode(keccak256("compose-hash"), WAITING));
        return keccak256(abi.encode(keccak256("delay"), bytes32(0)));
    }

    function _isAllowed(bytes32 composeHash, bytes32 device, uint64 time)
        private
        view
        returns (bool allowed)
    {
        Facts memory facts = Facts(time == 0 ? START : time, TeeVariants.TDX, 0, true);
        (allowed,) = _first(abi.encodeCall(app.decide, (_info(composeHash, device), facts, time)));
    }

    /// @dev The verdict alone: reasons are of no length that could be told beforehand.
    function _first(bytes memory question) private view returns (bool verdict, bool success) {
        bytes memory answer;
        (success, answer) = address(app).staticcall(question);
        assert(success);
        assembly {
            verdict := mload(add(answer, 32))
        }
    }

    function _info(bytes32 composeHash, bytes32 device)
        private
        view
        returns (IAppAuth.AppBootInfo memory info)
    {
        info.appId = address(app);
        info.composeHash = composeHash;
        info.deviceId = device;
        info.tcbStatus = "UpToDate";
    }

    /// @dev As strict as the other in everything.
    function _isWithin(AppPolicy memory a, AppPolicy memory b) private pure returns (bool) {
        return (b.allowAnyDevice || !a.allowAnyDevice) && a.teeVariants & ~b.teeVariants == 0
            && a.tcbStatuses & ~b.tcbStatuses == 0 && a.tcbGracePeriod <= b.tcbGracePeriod
            && (b.anyAdvisory || !a.anyAdvisory) && (a.requireGpu || !b.requireGpu)
            && (b.maxStateAge == 0 || (a.maxStateAge != 0 && a.maxStateAge <= b.maxStateAge));
    }
}
