// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppManagement} from "../../contracts/interfaces/IAppManagement.sol";
import {IKmsManagement} from "../../contracts/interfaces/IKmsManagement.sol";
import {IKmsTypes} from "../../contracts/interfaces/IKmsTypes.sol";
import {IERC1967} from "@openzeppelin/contracts/interfaces/IERC1967.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {PolicyLabels} from "../../contracts/PolicyLog.sol";
import {TwoParts} from "../../contracts/governance/TwoParts.sol";
import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {IAppAuthBasicManagement} from "../../contracts/interfaces/IAppAuthBasicManagement.sol";
import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {IAppPolicy} from "../../contracts/interfaces/IAppPolicy.sol";
import {IPolicyLog} from "../../contracts/interfaces/IPolicyLog.sol";
import {BylawTest} from "./support/BylawTest.sol";
import {vm} from "./support/TestVm.sol";

/// @notice What tools written for dstack rely on: every selector, topic, label, error and interface id.
contract AbiTest is BylawTest {
    string private constant BOOT_INFO =
        "(address,bytes32,address,bytes32,bytes32,bytes32,bytes32,string,string[])";

    string[] private answering;
    string[] private managing;

    // ------------------------------------------------------------ functions

    /// @dev dstack's, by the selectors that its tools call.
    function test_kms_has_all_functions_of_dstacks() public {
        _open("KmsAuth", "KmsManagement");
        _function("initialize(address,address)", 0x485cc955);
        _function("setKmsInfo((bytes,bytes,bytes,bytes))", 0x7d025352);
        _function("setKmsQuote(bytes)", 0x18c1ecb2);
        _function("setKmsEventlog(bytes)", 0x736ede7a);
        _function("setGatewayAppId(string)", 0x3971db27);
        _function("registerApp(address)", 0x17a1d80f);
        _function("setAppImplementation(address)", 0x3ceaaa11);
        _function("deployAndRegisterApp(address,bool,bool,bool,bytes32,bytes32)", 0x9cb9c31f);
        _function("deployAndRegisterApp(address,bool,bool,bytes32,bytes32)", 0x8618169d);
        _function("addKmsAggregatedMr(bytes32)", 0x3e32d346);
        _function("removeKmsAggregatedMr(bytes32)", 0x2adee48d);
        _function("addKmsDevice(bytes32)", 0x4d5922a1);
        _function("removeKmsDevice(bytes32)", 0x9e6f3114);
        _function("addOsImageHash(bytes32)", 0x06a3ae96);
        _function("removeOsImageHash(bytes32)", 0x9425bac6);
        _function(string.concat("isKmsAllowed(", BOOT_INFO, ")"), 0xe067ec9d);
        _function("kmsInfo()", 0x09177063);
        _function("gatewayAppId()", 0x95f51931);
        _function("registeredApps(address)", 0xa6c4cce9);
        _function("kmsAllowedAggregatedMrs(bytes32)", 0xf6fe4f40);
        _function("kmsAllowedDeviceIds(bytes32)", 0x13eb9770);
        _function("allowedOsImages(bytes32)", 0x9a4e1d18);
        _function("appImplementation()", 0x25a992da);
        _sharedFunctions();
    }

    function test_app_has_all_functions_of_dstacks() public {
        _open("AppAuth", "AppManagement");
        _function("initialize(address,bool,bool,bytes32,bytes32)", 0x187515ca);
        _function("initialize(address,bool,bool,bool,bytes32,bytes32)", 0x9ed28193);
        _function("version()", 0x54fd4d50);
        _function("addComposeHash(bytes32)", 0xdfc77223);
        _function("removeComposeHash(bytes32)", 0x67b3f22c);
        _function("addDevice(bytes32)", 0x2a819728);
        _function("removeDevice(bytes32)", 0x1d266200);
        _function("setAllowAnyDevice(bool)", 0x7c4beeb8);
        _function("setRequireTcbUpToDate(bool)", 0x6e4c7422);
        _function("disableUpgrades()", 0xec669036);
        _function("allowedComposeHashes(bytes32)", 0x2f6622e5);
        _function("allowedDeviceIds(bytes32)", 0xbf8b211b);
        _function("allowAnyDevice()", 0x3440a16a);
        _function("requireTcbUpToDate()", 0x0aa58c83);
        _sharedFunctions();
    }

    /// @dev One of the two parts answers each function of the interface, and neither answers what is not there.
    function test_kms_answers_its_interface_and_nothing_else() public {
        _open("KmsAuth", "KmsManagement");
        _assertAnswers("IKmsAuth");
    }

    function test_app_answers_its_interface_and_nothing_else() public {
        _open("AppAuth", "AppManagement");
        _assertAnswers("IManagedAppAuth");
    }

    /// @dev The answering part comes first: what it has too, the management part would never be asked.
    function test_no_part_of_kms_shadows_the_other() public {
        _open("KmsAuth", "KmsManagement");
        _assertApart();
    }

    function test_no_part_of_app_shadows_the_other() public {
        _open("AppAuth", "AppManagement");
        _assertApart();
    }

    /// @dev The proxies do reach both parts.
    function test_proxies_reach_both_parts() public view {
        vm.assertEq(kms.appImplementation(), address(appImplementation));
        vm.assertEq(kms.delay(), 0);
        vm.assertEq(app.version(), 2);
        vm.assertEq(app.delay(), 0);
    }

    function test_unknown_calls_are_refused() public {
        bytes memory unknown = abi.encodeWithSignature("noSuchFunction()");
        vm.deal(address(this), 2);
        address[2] memory targets = [address(kms), address(app)];
        for (uint256 i = 0; i < targets.length; i++) {
            (bool success, bytes memory answer) = targets[i].call(unknown);
            vm.assertFalse(success);
            vm.assertEq(answer, "");
            // Nor is there a way to send money without a call.
            (success, answer) = targets[i].call{value: 1}("");
            vm.assertFalse(success);
            vm.assertEq(answer, "");
        }
    }

    // ------------------------------------------------------------ topics, labels, errors

    function test_topics_of_kms_events() public pure {
        vm.assertEq(
            IKmsManagement.AppRegistered.selector,
            bytes32(0x0d540ad8f39e07d19909687352b9fa017405d93c91a6760981fbae9cf28bfef7)
        );
        vm.assertEq(
            IKmsManagement.KmsInfoSet.selector,
            bytes32(0x77cdad119a452bbd96c45635758fc4af8a6bde3deaccf3fada634ddf9a162706)
        );
        vm.assertEq(
            IKmsManagement.KmsAggregatedMrAdded.selector,
            bytes32(0x68615a0b92795750b3d180ff73429e1291d225e449eee954a567b91104fd9837)
        );
        vm.assertEq(
            IKmsManagement.KmsAggregatedMrRemoved.selector,
            bytes32(0x54cd662e41eec7ddf0f32f034b2533e481b471dd3ea978222d609ec8fffb1bb0)
        );
        vm.assertEq(
            IKmsManagement.KmsDeviceAdded.selector,
            bytes32(0xf2b290637b1193e12eb38ab32b986303639b1687cc2cd1e25f993e6eae2f4041)
        );
        vm.assertEq(
            IKmsManagement.KmsDeviceRemoved.selector,
            bytes32(0x1a9888a45e3df8b7e6bb3090747d598d2a0d78e61388161a90799f54df8f4434)
        );
        vm.assertEq(
            IKmsManagement.OsImageHashAdded.selector,
            bytes32(0x4911843506849c85a5ca6e6e2c01eed2d3ab86baba619517a2aad9d5ab2aeff2)
        );
        vm.assertEq(
            IKmsManagement.OsImageHashRemoved.selector,
            bytes32(0x99b3cee95daf3138d0c982299cd0264f5b7a61aa629b42b92f3ec8966aa7f6fe)
        );
        vm.assertEq(
            IKmsManagement.GatewayAppIdSet.selector,
            bytes32(0x5b2b64f770ea5266055ebd3ebf205ef06cbfa738e62684edf0e28356e34acf06)
        );
        vm.assertEq(
            IKmsManagement.AppImplementationSet.selector,
            bytes32(0x08bb433f12b5fd81d2d5e0deeb3b4d28371781ddbd80e9d053e7468d2b1aa82d)
        );
        vm.assertEq(
            IKmsManagement.AppDeployedViaFactory.selector,
            bytes32(0xfd86d7f6962eba3b7a3bf9129c06c0b2f885e1c61ef2c9f0dbb856be0deefdee)
        );
    }

    function test_topics_of_app_events() public pure {
        vm.assertEq(
            IAppAuthBasicManagement.ComposeHashAdded.selector,
            bytes32(0xfecb34306dd9d8b785b54d65489d06afc8822a0893ddacedff40c50a4942d0af)
        );
        vm.assertEq(
            IAppAuthBasicManagement.ComposeHashRemoved.selector,
            bytes32(0x755b79bd4b0eeab344d032284a99003b2ddc018b646752ac72d681593a6e8947)
        );
        vm.assertEq(
            IAppAuthBasicManagement.DeviceAdded.selector,
            bytes32(0x67fc71ab96fe3fa3c6f78e9a00e635d591b7333ce611c0380bc577aac702243b)
        );
        vm.assertEq(
            IAppAuthBasicManagement.DeviceRemoved.selector,
            bytes32(0xe0862975ac517b0478d308012afabc4bc37c23874a18144d7f2dfb852ff95c2c)
        );
        vm.assertEq(
            IAppManagement.UpgradesDisabled.selector,
            bytes32(0x0e5daa943fcd7e7182d0e893d180695c2ea9f6f1b4a1c5432faf14cf17b774e8)
        );
        vm.assertEq(
            IAppManagement.AllowAnyDeviceSet.selector,
            bytes32(0xbb2cdb6c7b362202d40373f87bc4788301cca658f91711ac1662e1ad2cba4a20)
        );
        vm.assertEq(
            IAppManagement.RequireTcbUpToDateSet.selector,
            bytes32(0xafae60561b2481a349b45b3a47357f70eef6ae67e5b6e1749d74de7f19a25aa1)
        );
    }

    function test_topics_of_shared_events() public pure {
        vm.assertEq(IPolicyLog.PolicyChanged.selector, POLICY_CHANGED);
        vm.assertEq(
            IERC1967.Upgraded.selector,
            bytes32(0xbc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b)
        );
        vm.assertEq(
            Initializable.Initialized.selector,
            bytes32(0xc7f505b2f371ae2175ee4913f4499e1f2633a7b5936321eed1cdaeb6115181d2)
        );
        vm.assertEq(
            OwnableUpgradeable.OwnershipTransferred.selector,
            bytes32(0x8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0)
        );
        vm.assertEq(
            Ownable2StepUpgradeable.OwnershipTransferStarted.selector,
            bytes32(0x38d16b8cac22d99fc7c124b9cd0de2d3fa1faef420bfe791d8c362d765e22700)
        );
    }

    function test_labels_of_policies() public pure {
        vm.assertEq(
            PolicyLabels.APP_IMPLEMENTATION,
            bytes32(0xeec6b85dea30e3cb63f324855a4722f1bf23ddd4c142a551610e18744a193734)
        );
        vm.assertEq(
            PolicyLabels.IMPLEMENTATION_UPGRADE,
            bytes32(0xdd3079240d4e002c905dcbcaf6b06d77e782afb127bbb837120b8c7fc6703da3)
        );
        vm.assertEq(
            PolicyLabels.KMS_INFO, bytes32(0xadc23d82fa8b20f02103a2405c452d2446e5a589f0182bd71f6d87e3357fbe65)
        );
        vm.assertEq(
            PolicyLabels.GATEWAY_APP_ID,
            bytes32(0x6061a738ec69c97ed6ae96633751763d1291f32a6ef6515845ad8ddefda35ec6)
        );
        vm.assertEq(
            PolicyLabels.REGISTERED_APP,
            bytes32(0x1a61f88f2e67632c1bf4321c88aec40bbf788e2b1a14b69f1186e6a3a31d9028)
        );
        vm.assertEq(
            PolicyLabels.KMS_AGGREGATED_MR,
            bytes32(0x22cfb8b3fc209be958082ecee5badccf8f7ab55e79ec93f5ac413a164feb98ea)
        );
        vm.assertEq(
            PolicyLabels.KMS_DEVICE,
            bytes32(0x1a2d46e254225ae2e84638f6fcb742191317930982ce206e0917877506edc3a0)
        );
        vm.assertEq(
            PolicyLabels.OS_IMAGE, bytes32(0xbc0346dd2a1caffcfdf89515e8a3ad921515d32b39d8e28334b87bd5a1bdb6aa)
        );
        vm.assertEq(
            PolicyLabels.DEVICE, bytes32(0x8e7eff7e4a57bd436b18f220111863326b17773a8b4460f9fabd87a334233046)
        );
        vm.assertEq(
            PolicyLabels.COMPOSE_HASH,
            bytes32(0x56bdf4352a9ceb1ba8f5c68066725c095e69c1d3f8a437290f0ac1da8fb4e19c)
        );
        vm.assertEq(
            PolicyLabels.ALLOW_ANY_DEVICE,
            bytes32(0x560720bbc77afadfad8faeab0a79cf66b13e5433c09dd9182d5d36413084a84e)
        );
        vm.assertEq(
            PolicyLabels.REQUIRE_TCB_UP_TO_DATE,
            bytes32(0xeb206ee4e1c06549322091bfcf2a5ff8658edc40901aa7f3af6f571a159471fb)
        );
        vm.assertEq(
            PolicyLabels.UPGRADES_DISABLED,
            bytes32(0xf6943036509aad7f2319e01f7ed528873bcbdaaf6d25921b03e395124e6a46d3)
        );
    }

    function test_selectors_of_errors() public pure {
        vm.assertEq(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, bytes32(bytes4(0x118cdaa7)));
        vm.assertEq(OwnableUpgradeable.OwnableInvalidOwner.selector, bytes32(bytes4(0x1e4fbdf7)));
        vm.assertEq(Initializable.InvalidInitialization.selector, bytes32(bytes4(0xf92ee8a9)));
        vm.assertEq(Initializable.NotInitializing.selector, bytes32(bytes4(0xd7e6bcf8)));
        vm.assertEq(UUPSUpgradeable.UUPSUnauthorizedCallContext.selector, bytes32(bytes4(0xe07c8dba)));
        vm.assertEq(UUPSUpgradeable.UUPSUnsupportedProxiableUUID.selector, bytes32(bytes4(0xaa1d49a4)));
        vm.assertEq(ERC1967Utils.ERC1967InvalidImplementation.selector, bytes32(bytes4(0x4c9c8ce3)));
        vm.assertEq(ERC1967Utils.ERC1967NonPayable.selector, bytes32(bytes4(0xb398979f)));
    }

    function test_interfaces_by_erc165() public view {
        vm.assertEq(type(IAppAuth).interfaceId, bytes32(bytes4(0x1e079198)));
        vm.assertEq(type(IAppAuthBasicManagement).interfaceId, bytes32(bytes4(0x8fd37527)));

        vm.assertTrue(kms.supportsInterface(0x01ffc9a7));
        vm.assertTrue(kms.supportsInterface(0x1e079198));
        vm.assertFalse(kms.supportsInterface(0x8fd37527));
        vm.assertTrue(kms.supportsInterface(type(IAppPolicy).interfaceId));
        vm.assertFalse(kms.supportsInterface(0xffffffff));

        vm.assertTrue(app.supportsInterface(0x01ffc9a7));
        vm.assertTrue(app.supportsInterface(0x1e079198));
        vm.assertTrue(app.supportsInterface(0x8fd37527));
        vm.assertTrue(app.supportsInterface(type(IAppPolicy).interfaceId));
        vm.assertFalse(app.supportsInterface(0xffffffff));
    }

    function testFuzz_no_other_interface(bytes4 id) public view {
        vm.assume(id != 0x01ffc9a7 && id != 0x1e079198 && id != 0x8fd37527);
        vm.assume(id != type(IAppPolicy).interfaceId);
        vm.assertFalse(kms.supportsInterface(id));
        vm.assertFalse(app.supportsInterface(id));
    }

    function test_versions() public view {
        vm.assertEq(app.version(), 2);
        vm.assertEq(kms.UPGRADE_INTERFACE_VERSION(), "5.0.0");
        vm.assertEq(app.UPGRADE_INTERFACE_VERSION(), "5.0.0");
    }

    /// @dev EIP-170 and EIP-3860: chains refuse more.
    function test_code_fits() public view {
        vm.assertLt(address(appImplementation).code.length, 24_577);
        vm.assertLt(TwoParts(payable(address(appImplementation))).management().code.length, 24_577);
        address kmsImplementation = address(uint160(uint256(vm.load(address(kms), IMPLEMENTATION_SLOT))));
        vm.assertLt(kmsImplementation.code.length, 24_577);
        vm.assertLt(TwoParts(payable(kmsImplementation)).management().code.length, 24_577);
    }

    function _sharedFunctions() private {
        _function(string.concat("isAppAllowed(", BOOT_INFO, ")"), 0x1e079198);
        _function("owner()", 0x8da5cb5b);
        _function("pendingOwner()", 0xe30c3978);
        _function("transferOwnership(address)", 0xf2fde38b);
        _function("acceptOwnership()", 0x79ba5097);
        _function("renounceOwnership()", 0x715018a6);
        _function("upgradeToAndCall(address,bytes)", 0x4f1ef286);
        _function("proxiableUUID()", 0x52d1902d);
        _function("UPGRADE_INTERFACE_VERSION()", 0xad3cb1cc);
        _function("supportsInterface(bytes4)", 0x01ffc9a7);
    }

    function _open(string memory answeringPart, string memory managementPart) private {
        answering = vm.parseJsonKeys(_artifact(answeringPart), ".methodIdentifiers");
        managing = vm.parseJsonKeys(_artifact(managementPart), ".methodIdentifiers");
    }

    function _function(string memory signature, bytes4 selector) private view {
        vm.assertEq(bytes4(keccak256(bytes(signature))), bytes32(selector), signature);
        vm.assertTrue(_isIn(answering, signature) || _isIn(managing, signature), signature);
    }

    function _assertAnswers(string memory interfaceName) private view {
        string[] memory promised = vm.parseJsonKeys(_artifact(interfaceName), ".methodIdentifiers");
        for (uint256 i = 0; i < promised.length; i++) {
            vm.assertTrue(_isIn(answering, promised[i]) || _isIn(managing, promised[i]), promised[i]);
        }
        _assertPromised(answering, promised);
        _assertPromised(managing, promised);
    }

    function _assertPromised(string[] memory actual, string[] memory promised) private pure {
        for (uint256 i = 0; i < actual.length; i++) {
            // Constants that explain themselves.
            if (_same(actual[i], "management()") || _same(actual[i], "MAX_DELAY()")) continue;
            if (_same(actual[i], "MAX_PENDING()") || _same(actual[i], "MAX_DATA()")) continue;
            vm.assertTrue(_isIn(promised, actual[i]), actual[i]);
        }
    }

    function _assertApart() private view {
        uint256 shared = 0;
        for (uint256 i = 0; i < answering.length; i++) {
            for (uint256 j = 0; j < managing.length; j++) {
                if (bytes4(keccak256(bytes(answering[i]))) != bytes4(keccak256(bytes(managing[j])))) {
                    continue;
                }
                vm.assertEq(answering[i], "proxiableUUID()");
                vm.assertEq(managing[j], "proxiableUUID()");
                shared++;
            }
        }
        vm.assertEq(shared, 1);
    }

    function _isIn(string[] memory list, string memory wanted) private pure returns (bool) {
        for (uint256 i = 0; i < list.length; i++) {
            if (_same(list[i], wanted)) return true;
        }
        return false;
    }

    function _same(string memory a, string memory b) private pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }
}
