// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Create2} from "@openzeppelin/contracts/utils/Create2.sol";

import {AppProxy} from "../AppProxy.sol";
import {IAppManagement} from "../interfaces/IAppManagement.sol";
import {IKmsManagement} from "../interfaces/IKmsManagement.sol";

import {PolicyLabels} from "../PolicyLog.sol";
import {Governed} from "./Governed.sol";
import {KmsState} from "./KmsState.sol";

/// @dev What of an app's contract tells who may deregister it.
interface IOwned {
    function owner() external view returns (address);
}

/// @title Which apps exist, and the factory for new ones
abstract contract AppRegistry is KmsState, Governed, IKmsManagement {
    // ------------------------------------------------------------ registration

    /// @inheritdoc IKmsManagement
    function registerApp(address appId) external {
        _settle();
        require(appId != address(0), "Invalid app ID");
        if (!_apps[appId].deregistered) {
            _register(appId);
            return;
        }
        // Somebody decided that it is over: only the owner can decide otherwise, and users see it coming.
        _checkOwner();
        _widen(PolicyLabels.REGISTERED_APP, _word(appId));
    }

    /// @inheritdoc IKmsManagement
    function deregisterApp(address appId) external {
        _settle();
        if (msg.sender != owner() && msg.sender != appId && !_isOwnerOf(appId, msg.sender)) {
            revert MayNotDeregister(appId, msg.sender);
        }
        _drop(_id(PolicyLabels.REGISTERED_APP, _word(appId)));
        App storage app = _apps[appId];
        app.registered = false;
        app.deregistered = true;
        emit AppDeregistered(appId, msg.sender);
        _recordPolicy(PolicyLabels.REGISTERED_APP, _word(appId), false);
    }

    /// @inheritdoc IKmsManagement
    function pauseApp(address appId) external onlyOwnerOrGuardian {
        _settle();
        _drop(_id(PolicyLabels.APP_UNPAUSED, _word(appId)));
        _apps[appId].paused = true;
        emit AppPaused(appId, msg.sender);
        _recordPolicy(PolicyLabels.APP_PAUSED, appId);
    }

    /// @inheritdoc IKmsManagement
    function unpauseApp(address appId) external onlyOwner {
        _settle();
        _widen(PolicyLabels.APP_UNPAUSED, _word(appId));
    }

    // ------------------------------------------------------------ factory

    /// @inheritdoc IKmsManagement
    function setAppImplementation(address implementation) external onlyOwner {
        _settle();
        require(implementation != address(0), "Invalid implementation address");
        if (_appImplementation == implementation || _appImplementation == address(0)) {
            _drop(_id(PolicyLabels.APP_IMPLEMENTATION, 0));
            _writeAppImplementation(implementation);
        } else {
            _widen(PolicyLabels.APP_IMPLEMENTATION, _word(implementation), "");
        }
    }

    /// @inheritdoc IKmsManagement
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades_,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external returns (address appId) {
        return _deployAndRegisterApp(
            initialOwner,
            disableUpgrades_,
            requireTcbUpToDate,
            allowAnyDevice,
            initialDeviceId,
            initialComposeHash
        );
    }

    /// @inheritdoc IKmsManagement
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades_,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external returns (address appId) {
        return _deployAndRegisterApp(
            initialOwner, disableUpgrades_, false, allowAnyDevice, initialDeviceId, initialComposeHash
        );
    }

    /// @inheritdoc IKmsManagement
    function createApp(IAppManagement.AppConfig calldata config, bytes32 salt)
        external
        returns (address appId)
    {
        _settle();
        _checkFactory(config.owner);
        appId = address(new AppProxy{salt: _salt(msg.sender, salt)}());
        IAppManagement(appId).initialize(config);
        _checkNotDeregistered(appId);
        _register(appId);
        emit AppDeployedViaFactory(appId, msg.sender);
    }

    /// @inheritdoc IKmsManagement
    function predictApp(address deployer, bytes32 salt) external view returns (address) {
        return Create2.computeAddress(_salt(deployer, salt), keccak256(type(AppProxy).creationCode));
    }

    // ------------------------------------------------------------ for the inheriting contract

    function _register(address appId) internal {
        App storage app = _apps[appId];
        app.registered = true;
        app.deregistered = false;
        emit AppRegistered(appId);
        _recordPolicy(PolicyLabels.REGISTERED_APP, appId);
    }

    function _unpauseApp(address appId) internal {
        _apps[appId].paused = false;
        emit AppUnpaused(appId);
        _recordPolicy(PolicyLabels.APP_UNPAUSED, appId);
    }

    function _writeAppImplementation(address implementation) internal {
        _appImplementation = implementation;
        emit AppImplementationSet(implementation);
        _recordPolicy(PolicyLabels.APP_IMPLEMENTATION, implementation);
    }

    // ------------------------------------------------------------ private

    function _deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades_,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) private returns (address appId) {
        _settle();
        _checkFactory(initialOwner);

        // The signature in full: `initialize` is overloaded, so no `.selector` names this form.
        bytes memory initialization = abi.encodeWithSignature(
            "initialize(address,bool,bool,bool,bytes32,bytes32)",
            initialOwner,
            disableUpgrades_,
            requireTcbUpToDate,
            allowAnyDevice,
            initialDeviceId,
            initialComposeHash
        );
        appId = address(new AppProxy());
        Address.functionCall(appId, initialization);
        _checkNotDeregistered(appId);
        _register(appId);
        emit AppDeployedViaFactory(appId, msg.sender);
    }

    function _checkFactory(address initialOwner) private view {
        require(_currentAppImplementation() != address(0), "DstackApp implementation not set");
        require(initialOwner != address(0), "Invalid owner address");
    }

    /// @dev The address was known before: somebody may have decided that nothing is ever to run there.
    function _checkNotDeregistered(address appId) private view {
        require(!_apps[appId].deregistered, "App was deregistered");
    }

    /// @dev Bound to the caller, so that nobody can take an address that somebody else counts on.
    function _salt(address deployer, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(deployer, salt));
    }

    /// @dev A contract without owner, or that fails, has no owner.
    function _isOwnerOf(address appId, address account) private view returns (bool) {
        if (appId.code.length == 0) return false;
        (bool success, bytes memory answer) = appId.staticcall(abi.encodeCall(IOwned.owner, ()));
        return success && answer.length == 32 && abi.decode(answer, (bytes32)) == _word(account);
    }
}
