// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicies, AppPolicy} from "../../contracts/governance/AppPolicies.sol";
import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {PolicyLabels} from "../../contracts/PolicyLog.sol";
import {AppReport} from "../support/AppReport.sol";
import {Operation} from "../support/Operation.sol";
import {PolicyText} from "../support/PolicyText.sol";
import {vm} from "../support/Vm.sol";

// An app: what it demands of where it runs. Run them as script/Manage.s.sol:NAME.

/// @dev Env: DEVICE_ID.
abstract contract AddDevice is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        bytes32 deviceId = vm.envBytes32("DEVICE_ID");
        _asOwner(address(app), abi.encodeCall(app.addDevice, (deviceId)), _text("Device allowed:", deviceId));
    }
}

/// @dev Env: DEVICE_ID.
abstract contract RemoveDevice is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        bytes32 deviceId = vm.envBytes32("DEVICE_ID");
        _asOwner(
            address(app),
            abi.encodeCall(app.removeDevice, (deviceId)),
            _text("Device no longer allowed:", deviceId)
        );
    }
}

/// @dev Env: ALLOW_ANY_DEVICE.
abstract contract SetAllowAnyDevice is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        bool allowAnyDevice = vm.envBool("ALLOW_ANY_DEVICE");
        _asOwner(
            address(app),
            abi.encodeCall(app.setAllowAnyDevice, (allowAnyDevice)),
            _text("Any device allowed:", allowAnyDevice)
        );
    }
}

/// @dev Env: REQUIRE_TCB_UP_TO_DATE.
abstract contract SetRequireTcbUpToDate is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        bool isRequired = vm.envBool("REQUIRE_TCB_UP_TO_DATE");
        _asOwner(
            address(app),
            abi.encodeCall(app.setRequireTcbUpToDate, (isRequired)),
            _text("TCB must be up to date:", isRequired)
        );
    }
}

/// @dev Env: ADVISORY (its id, for example INTEL-SA-00828), TOLERATED.
abstract contract SetAdvisoryTolerated is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        string memory advisory = vm.envString("ADVISORY");
        bool tolerated = vm.envBool("TOLERATED");
        require(bytes(advisory).length <= 32, "ADVISORY: longer than 32 characters");
        // It fits.
        // forge-lint: disable-next-line(unsafe-typecast)
        bytes32 id = bytes32(bytes(advisory));
        _asOwner(
            address(app),
            abi.encodeCall(app.setAdvisoryTolerated, (id, tolerated)),
            _text(string.concat("Advisory ", advisory, " tolerated:"), tolerated)
        );
    }
}

/// @notice Sets what the app demands. Whatever of it is stricter holds at once, the rest after the delay.
/// @dev Env: what {PolicyText-_policyFromEnv} reads; a field that is not set stays as it is now.
abstract contract SetPolicy is Operation, PolicyText {
    function run() external {
        IManagedAppAuth app = _app();
        _requireGoverned(address(app));
        AppPolicy memory policy = _policyFromEnv(app.policy(0));
        IGoverned.PendingChange[] memory pending = app.pendingChanges();
        for (uint256 i = 0; i < pending.length; i++) {
            if (pending[i].policy != PolicyLabels.POLICY) continue;
            AppPolicy memory waiting = AppPolicies.unpack(pending[i].value);
            _say(string.concat("This replaces the policy that waits: ", _oneLine(waiting)));
        }
        _asOwner(
            address(app),
            abi.encodeCall(app.setPolicy, (policy)),
            string.concat("Policy set: ", _oneLine(policy))
        );
        _say("The policy at once:");
        _sayPolicy(app.policy(0));
    }
}

/// @notice Stops the release of keys. The guardian may, too.
abstract contract PauseApp is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        _asGuardian(address(app), abi.encodeCall(app.pause, ()), _text("App paused:", address(app)));
    }
}

/// @notice Resumes it, after the delay.
abstract contract UnpauseApp is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        _asOwner(address(app), abi.encodeCall(app.unpause, ()), _text("App no longer paused:", address(app)));
    }
}

/// @notice Gives up upgrades of the app's contract. Nothing undoes it.
abstract contract DisableAppUpgrades is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        _asOwner(
            address(app),
            abi.encodeCall(app.disableUpgrades, ()),
            _text("Upgrades disabled for good:", address(app))
        );
    }
}

/// @notice Prints an app's settings; sends nothing.
abstract contract ShowAppInfo is AppReport {
    function run() external view {
        _report(_app());
    }
}
