// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {ERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {
    ERC165Upgradeable
} from "@openzeppelin/contracts-upgradeable/utils/introspection/ERC165Upgradeable.sol";

import {AppAuth} from "../../../contracts/AppAuth.sol";
import {KmsAuth} from "../../../contracts/KmsAuth.sol";
import {IAppAuth} from "../../../contracts/interfaces/IAppAuth.sol";
import {Facts, IAppPolicy, RuleVerdict} from "../../../contracts/interfaces/IAppPolicy.sol";

/// @dev An app contract of somebody's own making: allows whatever names it in `tcbStatus`.
contract CustomApp is IAppAuth {
    function isAppAllowed(AppBootInfo calldata bootInfo) external pure returns (bool, string memory) {
        if (keccak256(bytes(bootInfo.tcbStatus)) == keccak256("open sesame")) {
            return (true, "by its own rule");
        }
        return (false, bootInfo.tcbStatus);
    }
}

/// @dev An app contract that answers with what it was asked, so a test can see that nothing was changed.
contract EchoApp is IAppAuth {
    function isAppAllowed(AppBootInfo calldata bootInfo) external pure returns (bool, string memory) {
        return (false, string(abi.encode(bootInfo)));
    }
}

/// @dev The same for an app that can be asked about facts.
contract PolicyEchoApp is IAppPolicy, ERC165 {
    function decide(IAppAuth.AppBootInfo calldata bootInfo, Facts calldata facts, uint64 time)
        external
        pure
        returns (bool, string memory)
    {
        return (false, string(abi.encode(bootInfo, facts, time)));
    }

    function explain(IAppAuth.AppBootInfo calldata bootInfo, Facts calldata facts, uint64 time)
        external
        pure
        returns (RuleVerdict[] memory verdicts)
    {
        verdicts = new RuleVerdict[](1);
        verdicts[0] = RuleVerdict("echo", true, string(abi.encode(bootInfo, facts, time)));
    }

    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppPolicy).interfaceId || super.supportsInterface(interfaceId);
    }
}

/// @dev Decides, but fails when it is asked why.
contract UnexplainedApp is IAppAuth, ERC165 {
    function isAppAllowed(AppBootInfo calldata) external pure returns (bool, string memory) {
        return (false, "not told");
    }

    function decide(AppBootInfo calldata, Facts calldata, uint64)
        external
        pure
        returns (bool, string memory)
    {
        return (false, "decided");
    }

    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppPolicy).interfaceId || super.supportsInterface(interfaceId);
    }
}

/// @dev Fails when it is asked what it supports.
contract UnruledApp is IAppAuth {
    function isAppAllowed(AppBootInfo calldata) external pure returns (bool, string memory) {
        return (false, "no rules");
    }

    function supportsInterface(bytes4) external pure returns (bool) {
        revert("not telling");
    }
}

contract RevertingApp is IAppAuth {
    error Closed(uint256 code);

    function isAppAllowed(AppBootInfo calldata) external pure returns (bool, string memory) {
        revert Closed(42);
    }
}

/// @dev Has code, but answers one word where a verdict and a reason are due.
contract ShortAnswerApp {
    fallback() external {
        assembly {
            mstore(0, 1)
            return(0, 32)
        }
    }
}

/// @dev Accepts any call and answers nothing.
contract SilentApp {
    fallback() external {}
}

/// @dev Has code and is no UUPS implementation.
contract NotUpgradeable {}

/// @dev Names another slot than ERC-1967's.
contract WrongSlot {
    function proxiableUUID() external pure returns (bytes32) {
        return keccak256("elsewhere");
    }
}

/// @dev Later versions, with a variable more in the first slot of the gap.
contract KmsAuthV2 is KmsAuth {
    function addedInV2() external pure returns (uint256) {
        return 2;
    }

    function takeMoney() external payable {}

    function initializeV2(string calldata appId) external reinitializer(2) {
        _gatewayAppId = appId;
    }
}

contract AppAuthV2 is AppAuth {
    function addedInV2() external pure returns (uint256) {
        return 2;
    }

    function takeMoney() external payable {}
}

/// @dev The storage of a deployed dstack KMS contract as the reference tabulates it, and a way to fill it.
/// Written from the table and not from our contract, so that the two are compared with each other.
contract DstackKmsStorage is Initializable, Ownable2StepUpgradeable, UUPSUpgradeable, ERC165Upgradeable {
    bytes public k256Pubkey; // 0–3: the struct's four fields
    bytes public caPubkey;
    bytes public quote;
    bytes public eventlog;
    string public tproxyAppId; // 4
    mapping(address => bool) public slot5;
    mapping(bytes32 => bool) public slot6;
    mapping(bytes32 => bool) public slot7;
    mapping(bytes32 => bool) public slot8;
    address public slot9;

    function initialize(address owner) external initializer {
        __Ownable_init(owner);
    }

    function fill(address app, bytes32 mr, bytes32 device, bytes32 image, address implementation) external {
        k256Pubkey = "k256";
        caPubkey = "a CA public key that needs more than thirty-two bytes";
        quote = "quote";
        eventlog = "event log";
        tproxyAppId = "gateway";
        slot5[app] = true;
        slot6[mr] = true;
        slot7[device] = true;
        slot8[image] = true;
        slot9 = implementation;
    }

    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || super.supportsInterface(interfaceId);
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}
}

/// @dev The same for a deployed dstack app contract.
contract DstackAppStorage is Initializable, Ownable2StepUpgradeable, UUPSUpgradeable, ERC165Upgradeable {
    mapping(bytes32 => bool) public slot0;
    bool public slot1byte0;
    bool public slot1byte1;
    mapping(bytes32 => bool) public slot2;
    bool public slot3;

    function initialize(address owner) external initializer {
        __Ownable_init(owner);
    }

    function fill(bytes32 composeHash, bytes32 device, bool upgradesDisabled, bool anyDevice, bool upToDate)
        external
    {
        slot0[composeHash] = true;
        slot1byte0 = upgradesDisabled;
        slot1byte1 = anyDevice;
        slot2[device] = true;
        slot3 = upToDate;
    }

    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || super.supportsInterface(interfaceId);
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}
}

/// @dev The getters of the earliest dstack app contracts, which kept their variables one slot further on.
contract EarliestDstackApp {
    function appId() external view returns (address) {
        return address(this);
    }

    function allowedComposeHashes(bytes32) external pure returns (bool) {
        return false;
    }
}
