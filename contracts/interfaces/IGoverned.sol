// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title Changes that can be seen coming
/// @notice Whatever widens access takes effect only after {delay}, whatever narrows it at once. A widening that
/// waits is a pending change: anyone can list it, the owner or the guardian can drop it, and nobody has to send
/// a transaction for it to take effect (except a new implementation and a new owner, which are carried out).
interface IGoverned {
    /// @notice A widening that waits.
    /// @param id Names it in {veto}.
    /// @param policy keccak256 of the rule's label, see {PolicyLabels}.
    /// @param value What the rule is about, as in {IPolicyLog-PolicyChanged}.
    /// @param activatesAt From when it holds, Unix seconds.
    /// @param data What does not fit into `value`; its form depends on `policy`.
    struct PendingChange {
        bytes32 id;
        bytes32 policy;
        bytes32 value;
        uint64 activatesAt;
        bytes data;
    }

    /// @notice A widening was asked for and takes effect later.
    event ChangeScheduled(
        bytes32 indexed id, bytes32 indexed policy, bytes32 indexed value, uint64 activatesAt, bytes data
    );

    /// @notice A pending change will not take effect: vetoed, withdrawn, replaced or overtaken by a narrowing.
    event ChangeDropped(bytes32 indexed id, bytes32 indexed policy, bytes32 indexed value, address by);

    /// @notice A pending change was carried out; the event of the rule itself came just before, or comes next when it
    /// is an upgrade or a new owner. It may have been
    /// in effect for a while: time alone puts changes into effect, this only tidies up.
    event ChangeApplied(bytes32 indexed id, bytes32 indexed policy, bytes32 indexed value);

    /// @notice How long widenings wait from now on.
    event DelaySet(uint32 delay);

    /// @notice Who may veto from now on; zero for nobody.
    event GuardianSet(address guardian);

    /// @notice No pending change has this id, or it is in effect already.
    error NotPending(bytes32 id);

    /// @notice The change waits until then.
    error NotYet(uint64 activatesAt);

    /// @notice Only the owner or the guardian may do this.
    error NeitherOwnerNorGuardian(address caller);

    /// @notice A delay must not be longer than {MAX_DELAY}: a slip of the pen would lock the contract for ever.
    error DelayTooLong(uint32 delay, uint32 max);

    /// @notice No more than {MAX_PENDING} changes wait at a time.
    error TooManyPending(uint256 max);

    /// @notice A pending change carries no more data than {MAX_DATA}.
    error DataTooLong(uint256 length, uint256 max);

    /// @notice A scheduled upgrade takes no money; send it with the call that carries the upgrade out.
    error NotPayable();

    /// @notice The code at the address is not what it was when the upgrade was scheduled.
    error ImplementationChanged(address implementation);

    /// @notice The address holds no contract that can be upgraded to.
    error NotAnImplementation(address implementation);

    /// @notice Waiting time of widenings, in seconds.
    function delay() external view returns (uint32);

    /// @notice Who may veto, besides the owner; zero for nobody.
    function guardian() external view returns (address);

    /// @notice Every change that waits, and an upgrade or new owner that may be carried out but was not yet.
    function pendingChanges() external view returns (PendingChange[] memory);

    /// @notice Sets the waiting time. Owner only. Longer at once, shorter after the present delay.
    function setDelay(uint32 newDelay) external;

    /// @notice Names the guardian. Owner only. The first one at once; another one, or none, after the delay, so
    /// that whoever stole the owner's key cannot get rid of the guardian unseen.
    function setGuardian(address newGuardian) external;

    /// @notice Drops a pending change. Owner and guardian only.
    function veto(bytes32 id) external;

    /// @notice Writes down what has taken effect by itself, so that the usual events are emitted and reading
    /// becomes cheaper. Anyone may call it; it changes no answer of this contract.
    function settle() external;
}
