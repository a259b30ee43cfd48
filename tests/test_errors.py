"""What users can mend is told in its own words, whoever passed it on."""

import pytest
from mmengine.registry import Registry
from torch.utils.data import DataLoader, Dataset

from mae_plugin.errors import MissingFileError, UserError, user_words


class Refusing(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise UserError('size=3 is too small:\nuse size=4')


def test_words_of_an_error_from_a_worker():
    with pytest.raises(UserError) as caught:
        next(iter(DataLoader(Refusing(), num_workers=1)))
    assert 'Traceback' in str(caught.value)
    assert user_words(caught.value) == 'size=3 is too small:\nuse size=4'


def test_words_of_an_error_from_a_registry():
    registry = Registry('part', scope='mae_plugin')

    @registry.register_module()
    class Part:
        def __init__(self):
            raise UserError('depth=0: give 1 or more')

    @registry.register_module()
    class Whole:
        def __init__(self):
            try:
                registry.build(dict(type='Part'))
            except Exception as error:  # as upstream's registry does, once a level
                raise type(error)(f'class `Part` in part.py: {error}')  # noqa: B904

    with pytest.raises(UserError) as caught:
        registry.build(dict(type='Whole'))
    assert user_words(caught.value) == 'depth=0: give 1 or more'


def test_words_that_we_added_on_purpose_stay():
    with pytest.raises(UserError) as caught:
        try:
            raise UserError('sizes differ')
        except UserError as error:
            raise UserError(f'cannot load f.pth: {error}') from None
    assert user_words(caught.value) == 'cannot load f.pth: sizes differ'


def test_an_error_of_another_kind_is_no_copy_of_the_one_before():
    class TooManyError(UserError):
        pass

    with pytest.raises(TooManyError) as caught:
        try:
            raise UserError('a.jpg is damaged')
        except UserError:
            raise TooManyError('20 of the last 20 tries failed')  # noqa: B904
    assert user_words(caught.value) == '20 of the last 20 tries failed'


def test_a_missing_file_is_both():
    error = MissingFileError('photos: no such folder')
    assert isinstance(error, FileNotFoundError) and isinstance(error, UserError)
    assert str(error) == user_words(error) == 'photos: no such folder'
